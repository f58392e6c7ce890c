//! The bridges to Prometheus and OpenTelemetry agree with the samples, family by family.

mod otlp;
mod text;

use std::collections::BTreeMap;

use multi_tier_cached::metrics::{FAMILIES, Kind, MetricsDetail, Sample, SampleValue};
use multi_tier_cached::{CacheRuntime, Function, Histogram, Memory, PrometheusMetrics, Redis};
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::{Instance, until};

use self::otlp::Exported;

/// The attributes of a time series.
type Attributes = BTreeMap<String, String>;

/// The value of a time series, as a library exports it.
#[derive(Clone, Debug, PartialEq)]
enum Value {
    Number(f64),
    /// The counts up to each bound in seconds, each of which includes those below, and the sum.
    Histogram(Vec<(f64, u64)>, f64),
}

impl Value {
    fn of(value: &SampleValue) -> Self {
        match value {
            SampleValue::Histogram(histogram) => Self::of_histogram(histogram),
            other => Self::Number(super::number(other)),
        }
    }

    fn of_histogram(histogram: &Histogram) -> Self {
        let mut below = 0;
        let buckets = histogram.exported().into_iter().map(|bucket| {
            below += bucket.count;
            let bound = bucket
                .up_to
                .map_or(f64::INFINITY, |up_to| up_to.as_secs_f64());
            (bound, below)
        });
        Self::Histogram(buckets.collect(), histogram.sum().as_secs_f64())
    }

    /// Returns `true` if the values are equal, as far as sums of numbers in floating point are.
    fn is_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(one), Self::Number(other)) => one == other,
            (Self::Histogram(one, sum), Self::Histogram(other, other_sum)) => {
                one == other && (sum - other_sum).abs() < 1e-6
            }
            _ => false,
        }
    }
}

/// The time series of one family, as a library exports it.
#[derive(Clone, Debug, Default)]
struct Series {
    kind: String,
    unit: String,
    help: String,
    values: BTreeMap<Attributes, Value>,
}

fn attributes(sample: &Sample) -> Attributes {
    let pairs = sample.attributes();
    pairs
        .map(|(name, value)| (name.to_owned(), value.as_str().to_owned()))
        .collect()
}

/// The samples by the name of their family.
fn by_family(samples: &[Sample]) -> BTreeMap<&'static str, BTreeMap<Attributes, Value>> {
    let mut families = BTreeMap::<_, BTreeMap<_, _>>::new();
    for sample in samples {
        let values = families.entry(sample.family.name).or_default();
        values.insert(attributes(sample), Value::of(&sample.value));
    }
    families
}

#[track_caller]
fn assert_like(name: &str, expected: &BTreeMap<Attributes, Value>, found: &Series) {
    let keys = |values: &BTreeMap<Attributes, Value>| values.keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(expected), keys(&found.values), "{name}");
    for (attributes, value) in expected {
        let other = &found.values[attributes];
        // It is read a moment later.
        let is_age = name == "multi_tier_cached.tier.barrier.age";
        assert!(
            is_age || value.is_like(other),
            "{name} {attributes:?}: {value:?}, {other:?}"
        );
    }
}

/// A runtime whose numbers do not change any more, and what OpenTelemetry exports of it.
async fn quiet(server: &Server) -> (Instance, Exported) {
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let exported = Exported::of(&here.runtime);
    let function = Function::<u64>::builder("bridges::quiet").ttl(super::HOUR);
    let function = function.none_ttl(super::HOUR).build().unwrap();
    let call = |key: u64| {
        let call = function.get_or_load((key,), move || async move { (key < 5).then_some(key) });
        here.call(call)
    };
    for key in [1, 2, 2, 3, 7, 7] {
        call(key).await;
    }
    here.call(function.entry((1,)).invalidate()).await.unwrap();
    let operations = || here.tiers()[0].operations.clone();
    until("all values are stored", || {
        operations().fill.ok.count() == 4
    })
    .await;
    (here, exported)
}

#[tokio::test]
async fn prometheus_and_opentelemetry_have_the_samples_of_the_runtime() {
    let server = Server::start();
    let (here, exported) = quiet(&server).await;
    let samples = by_family(&here.samples());
    let text = text::parse(&here.prometheus_text());
    let otlp = exported.collect();
    assert!(samples.len() > 30, "{:?}", samples.keys());
    for family in FAMILIES {
        let Some(expected) = samples.get(family.name) else {
            assert!(!text.contains_key(family.prometheus), "{}", family.name);
            continue;
        };
        let in_text = &text[family.prometheus];
        assert_eq!(in_text.kind, family.kind.prometheus(), "{}", family.name);
        assert_eq!(in_text.help, family.help);
        let unit = match family.unit {
            "s" => "seconds",
            "By" => "bytes",
            _ => "",
        };
        assert_eq!(in_text.unit, unit, "{}", family.name);
        assert_like(family.name, expected, in_text);
        let mut expected = expected.clone();
        // A histogram of OpenTelemetry has a series when it has a duration.
        expected.retain(|_, value| match value {
            Value::Histogram(buckets, _) => buckets.last().is_some_and(|(_, count)| *count > 0),
            Value::Number(_) => true,
        });
        let in_otlp = &otlp[family.name];
        assert_eq!(in_otlp.unit, family.unit, "{}", family.name);
        assert_eq!(in_otlp.help, family.help, "{}", family.name);
        let kind = match family.kind {
            Kind::Counter => "monotonic sum",
            Kind::UpDownCounter => "sum",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
            other => panic!("{other:?} is a new kind"),
        };
        assert_eq!(in_otlp.kind, kind, "{}", family.name);
        assert_like(family.name, &expected, in_otlp);
    }
    let known = |name: &String| FAMILIES.iter().any(|family| family.name == name);
    assert!(otlp.keys().all(known), "{:?}", otlp.keys());
}

#[tokio::test]
async fn values_of_labels_are_escaped() {
    const KIND: &str = "a \"kind\" \\ of\ntwo lines";
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.l2(FakeTier::new().kind(KIND))).await;
    let text = text::parse(&here.prometheus_text());
    let states = &text["multi_tier_cached_tier_state"].values;
    assert!(
        states.keys().all(|attributes| attributes["kind"] == KIND),
        "{states:?}"
    );
    let exported = Exported::of(&here.runtime).collect();
    let states = &exported["multi_tier_cached.tier.state"].values;
    assert!(
        states.keys().all(|attributes| attributes["kind"] == KIND),
        "{states:?}"
    );
}

#[tokio::test]
async fn nothing_is_observed_after_the_instruments_are_dropped() {
    let here = Instance::with_memory().await;
    let mut exported = Exported::of(&here.runtime);
    let function = Function::<u64>::builder("bridges::dropped")
        .ttl(super::HOUR)
        .build();
    let function = function.unwrap();
    here.call(function.get_or_load((1,), || async { 1 })).await;
    assert!(exported.collect().contains_key("multi_tier_cached.info"));
    exported.stop();
    here.call(function.get_or_load((2,), || async { 1 })).await;
    let after = exported.collect();
    let info = after.get("multi_tier_cached.info");
    assert!(info.is_none_or(|info| info.values.is_empty()), "{info:?}");
    // The library keeps what was recorded before.
    let loads = &after["multi_tier_cached.load.duration"];
    let counts = loads.values.values().map(|value| match value {
        Value::Histogram(buckets, _) => buckets.last().map_or(0, |(_, count)| *count),
        Value::Number(_) => 0,
    });
    assert_eq!(counts.sum::<u64>(), 1);
}

#[tokio::test]
async fn bridges_fold_functions_as_the_runtime_says() {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.metrics_detail(MetricsDetail::Runtime)).await;
    let exported = Exported::of(&here.runtime);
    for name in ["bridges::one", "bridges::other"] {
        let function = Function::<u64>::builder(name)
            .ttl(super::HOUR)
            .build()
            .unwrap();
        here.call(function.get_or_load((1,), || async { 1 })).await;
    }
    let all = |series: &Series| {
        let functions = series
            .values
            .keys()
            .map(|attributes| attributes["function"].clone());
        functions.collect::<Vec<_>>()
    };
    let text = text::parse(&here.prometheus_text());
    assert_eq!(all(&text["multi_tier_cached_load_duration_seconds"]), ["*"]);
    assert_eq!(
        all(&exported.collect()["multi_tier_cached.load.duration"]),
        ["*"]
    );
}
