//! Samples are those of the table, and have the numbers of the statistics.

use std::collections::HashSet;

use multi_tier_cached::metrics::{FAMILIES, Family, Kind, MetricsDetail, SampleValue};
use multi_tier_cached::{
    CacheRuntime, Function, Memory, PrometheusMetrics, Redis, multi_tier_cached,
};
use testbed::Instance;
use testbed::server::Server;

use super::{HOUR, counter, number, provoke, sample};

#[multi_tier_cached(ttl = "1h", name = "samples::generic")]
async fn generic<T: serde::Serialize + Send + Sync + 'static>(key: T) -> String {
    let _ = key;
    std::any::type_name::<T>().to_owned()
}

/// The name in Prometheus by its conventions: words joined by `_`, the unit, and `_total` for a
/// counter.
fn prometheus_name(family: &Family) -> String {
    let unit = match family.unit {
        "s" => "_seconds",
        "By" => "_bytes",
        _ => "",
    };
    let total = match family.kind {
        Kind::Counter => "_total",
        _ => "",
    };
    format!("{}{unit}{total}", family.name.replace('.', "_"))
}

#[test]
fn names_units_and_help_follow_the_conventions() {
    let mut names = HashSet::new();
    for family in FAMILIES {
        let name = family.name;
        assert_eq!(family.prometheus, prometheus_name(family), "{name}");
        assert!(names.insert(name), "{name} is twice in the table");
        let is_thing = family.unit.starts_with('{') && family.unit.ends_with('}');
        assert!(
            is_thing || ["s", "By", "1"].contains(&family.unit),
            "{name}"
        );
        assert_eq!(family.kind == Kind::Histogram, name.ends_with(".duration"));
        assert!(
            !family.help.ends_with('.') && !family.help.is_empty(),
            "{name}"
        );
    }
    // No name is also the beginning of others, because a name cannot be a namespace as well.
    for family in FAMILIES {
        let prefix = format!("{}.", family.name);
        let below = FAMILIES
            .iter()
            .find(|other| other.name.starts_with(&prefix));
        assert!(below.is_none(), "{} is also a namespace", family.name);
    }
}

#[tokio::test]
async fn samples_are_in_the_order_of_the_table_and_have_its_attributes() {
    let program = provoke::Program::run().await;
    for runtime in &program.runtimes {
        let (mut last, mut seen) = (0, HashSet::new());
        for sample in runtime.samples() {
            let family = sample.family;
            let at = FAMILIES
                .iter()
                .position(|known| std::ptr::eq(*known, family))
                .unwrap();
            assert!(last <= at, "{} is out of order", family.name);
            last = at;
            let attributes: Vec<_> = sample
                .attributes()
                .map(|(name, value)| (name, value.as_str().to_owned()))
                .collect();
            for (name, value) in &attributes {
                let known = family.attribute(name).unwrap().values;
                assert!(
                    known.is_empty() || known.contains(&&**value),
                    "{name}={value}"
                );
            }
            let is_of_kind = match sample.value {
                SampleValue::Counter(_) => family.kind == Kind::Counter,
                SampleValue::UpDownCounter(_) => family.kind == Kind::UpDownCounter,
                SampleValue::Gauge(_) => family.kind == Kind::Gauge,
                SampleValue::Histogram(_) => family.kind == Kind::Histogram,
                _ => false,
            };
            assert!(is_of_kind, "{sample:?}");
            assert!(number(&sample.value) >= 0.0, "{sample:?}");
            let text = format!("{} {attributes:?}", family.name);
            assert!(seen.insert(text.clone()), "{text} is there twice");
        }
    }
}

#[tokio::test]
async fn samples_have_the_numbers_of_the_statistics() {
    let here = Instance::with_memory().await;
    let function = Function::<u64>::builder("samples::counted")
        .ttl(HOUR)
        .build()
        .unwrap();
    let called = async {
        for key in [1_u64, 1, 2, 1] {
            function.get_or_load((key,), || async move { key }).await;
        }
        function.entry((1,)).invalidate().await.unwrap();
        function.invalidate_all().await.unwrap();
    };
    here.call(called).await;
    let name = ("function", "samples::counted");
    let lookups = |result| {
        counter(
            &here,
            "multi_tier_cached.lookups",
            &[name, ("tier", "l1"), ("result", result)],
        )
    };
    assert_eq!((lookups("hit"), lookups("miss")), (2, 2));
    let invalidations = |scope| {
        counter(
            &here,
            "multi_tier_cached.invalidations",
            &[name, ("scope", scope)],
        )
    };
    assert_eq!(
        (
            invalidations("key"),
            invalidations("function"),
            invalidations("pattern")
        ),
        (1, 1, 0)
    );
    here.runtime.invalidate_all().await.unwrap();
    let all = counter(
        &here,
        "multi_tier_cached.invalidations",
        &[("scope", "all")],
    );
    assert_eq!(all, 1);
    let stats = here.stats();
    let by_scope = stats
        .function("samples::counted")
        .unwrap()
        .invalidations_by_scope;
    assert_eq!((by_scope.total(), stats.invalidations_of_all), (2, 1));
}

/// The formula of the docs.
#[tokio::test]
async fn number_of_time_series_is_that_of_the_docs() {
    let server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let lines = |has: &dyn Fn(&str) -> bool| {
        let text = here.prometheus_text();
        text.lines()
            .filter(|line| !line.starts_with('#') && has(line))
            .count()
    };
    let name = "function=\"samples::series\"";
    let function = Function::<u64>::builder("samples::series")
        .ttl(HOUR)
        .build()
        .unwrap();
    here.call(function.get_or_load((1,), || async { 1 })).await;
    assert_eq!(lines(&|line| line.contains(name)), 27 + 16 + 23);
    let is_of_tier = |line: &str| line.contains("_cached_tier_") || line.contains("_queued");
    let of_tier = |line: &str| is_of_tier(line) && !line.contains("function=");
    assert_eq!(lines(&of_tier), 97 + 10);
    let others = |line: &str| !is_of_tier(line) && !line.contains("function=");
    // moka does not count its evictions.
    assert_eq!(lines(&others), 10);
    let docs = include_str!("../../docs/metrics.md");
    assert!(docs.contains("functions × (27 + 16 × tiers below memory + 23 × results seen)"));
    assert!(docs.contains("tiers × (97 + 23 × further results) + shards × 10 + 11"));
}

/// Each family has a row in the docs, with its kind, its unit and its attributes.
#[test]
fn table_of_the_docs_is_that_of_the_families() {
    let docs = include_str!("../../docs/metrics.md");
    for family in FAMILIES {
        let name = family.name.strip_prefix("multi_tier_cached.").unwrap();
        let kind = match family.kind {
            Kind::Counter => "counter",
            Kind::UpDownCounter => "up-down counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            other => panic!("{other:?} is a new kind"),
        };
        let attributes: Vec<_> = family
            .attributes
            .iter()
            .map(|attribute| attribute.name)
            .collect();
        let attributes = match attributes.is_empty() {
            true => "-".to_owned(),
            false => attributes.join(", "),
        };
        let row = format!("| `{name}` | {kind}, `{}` | {attributes} | ", family.unit);
        assert!(docs.contains(&row), "the docs lack {row}");
        for value in family
            .attributes
            .iter()
            .flat_map(|attribute| attribute.values)
        {
            assert!(
                docs.contains(&format!("`{value}`")),
                "the docs lack {value}"
            );
        }
    }
}

#[tokio::test]
async fn instances_of_a_generic_function_have_their_types_in_their_names() {
    let here = Instance::with_memory().await;
    here.call(generic(1_u8)).await;
    here.call(generic("text".to_owned())).await;
    for name in [
        "samples::generic<u8>",
        "samples::generic<alloc::string::String>",
    ] {
        let loads = sample(
            &here,
            "multi_tier_cached.load.duration",
            &[("function", name)],
        );
        assert_eq!(
            loads.map(|sample| number(&sample.value)),
            Some(1.0),
            "{name}"
        );
    }
}

/// A counter must not fall, also if a function that was built at run time is dropped.
#[tokio::test]
async fn samples_of_the_runtime_are_the_sums_of_its_functions() {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.metrics_detail(MetricsDetail::Runtime)).await;
    for name in ["samples::one", "samples::other"] {
        let function = Function::<u64>::builder(name).ttl(HOUR).build().unwrap();
        for _ in 0..3 {
            here.call(function.get_or_load((1,), || async { 1 })).await;
        }
    }
    let functions: HashSet<_> = here
        .samples()
        .iter()
        .filter_map(|sample| sample.attribute("function").map(str::to_owned))
        .collect();
    assert_eq!(functions, HashSet::from(["*".to_owned()]));
    let hits = [("function", "*"), ("tier", "l1"), ("result", "hit")];
    assert_eq!(counter(&here, "multi_tier_cached.lookups", &hits), 4);
    let loads = sample(
        &here,
        "multi_tier_cached.load.duration",
        &[("result", "value")],
    );
    assert_eq!(loads.map(|sample| number(&sample.value)), Some(2.0));
    let left = here.stats().functions.len();
    assert_eq!(left, 1, "the other function does not exist any more");
}
