//! `cache.get`, `cache.load` and `cache.tier`.

use std::collections::HashMap;
use std::future::pending;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Function, LoadTimeout, Memory, Redis, caching, multi_tier_cached,
};
use serde::ser::Error;
use testbed::fake_tier::FakeTier;
use testbed::server::Server;
use testbed::spans::{Seen, Spans};
use testbed::{Gate, Instance, poll_once};
use tokio::task::yield_now;
use tracing::{Instrument, Level, Span};

use super::{HOUR, builder};

const SECRET: &str = "a text that must stay here";

#[derive(Clone, Debug)]
struct Failed(#[expect(dead_code, reason = "only its text matters")] &'static str);

impl From<LoadTimeout> for Failed {
    fn from(_: LoadTimeout) -> Self {
        Self(SECRET)
    }
}

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

fn function_field(span: &Seen) -> &str {
    span.field("cache.function")
}

#[tokio::test]
async fn call_that_runs_its_body_has_a_span_for_itself_and_one_for_the_body() {
    const NAME: &str = "it::traces::calls::read";
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let around = tracing::info_span!(target: "shop", "request");
    here.call(read(1)).instrument(around).await;
    assert_eq!(spans.names(), ["request", "cache.get", "cache.load"]);
    let [_, get, load] = &spans.all()[..] else {
        unreachable!()
    };
    assert_eq!((get.level, get.target), (Level::DEBUG, "multi_tier_cached"));
    assert_eq!(
        (load.level, load.target),
        (Level::INFO, "multi_tier_cached")
    );
    assert_eq!((get.parent, load.parent), (Some(0), Some(1)));
    assert_eq!((function_field(get), function_field(load)), (NAME, NAME));
    assert_eq!(get.field("sentry.op"), "cache.get");
    assert_eq!(get.field("outcome"), "loaded");
    assert_eq!(get.field("cache.hit"), "false");
    assert_eq!(load.field("outcome"), "value");
    assert_eq!(load.field("attempt"), "1");
    assert_eq!(load.field("error"), "");
    assert!(spans.are_closed());
}

#[tokio::test]
async fn hit_in_memory_has_no_span() {
    let here = Instance::with_memory().await;
    let swr = builder("traces::windows").stale_while_revalidate(HOUR);
    let swr = swr.build().unwrap();
    let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, id)).collect();
    let calls = async || {
        read(1).await;
        swr.get_or_load((1_u64,), async || 1).await;
        let batch = swr.get_or_load_many(&[1, 2], |id| (*id,), body);
        let _: HashMap<u64, u64> = batch.await;
    };
    here.call(calls()).await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    here.call(calls()).await;
    assert_eq!(spans.names(), [""; 0]);
}

#[tokio::test]
async fn body_span_alone_is_enabled_by_the_level_info() {
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::INFO);
    let around = tracing::info_span!(target: "shop", "request");
    here.call(read(2)).instrument(around).await;
    assert_eq!(spans.names(), ["request", "cache.load"]);
    assert_eq!(spans.only("cache.load").parent, Some(0));
}

#[tokio::test]
async fn body_runs_inside_its_span_and_nothing_else_does() {
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let function = builder("traces::inside").build().unwrap();
    let name = || Span::current().metadata().map(|span| span.name());
    let body = || async {
        let before = name();
        yield_now().await;
        tracing::info_span!(target: "shop", "query").in_scope(|| {});
        assert_eq!((before, name()), (Some("cache.load"), Some("cache.load")));
        1
    };
    let mut call = Box::pin(here.call(function.get_or_load((1_u64,), body)));
    assert!(poll_once(&mut call).is_pending());
    assert_eq!(name(), None);
    call.await;
    assert_eq!(name(), None);
    assert_eq!(spans.names(), ["cache.get", "cache.load", "query"]);
    assert_eq!(spans.only("query").parent, Some(1));
}

#[tokio::test]
async fn operations_of_tiers_have_spans_inside_the_call() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    first.call(read(3)).await;
    let operations = spans.named("cache.tier");
    let names: Vec<_> = operations
        .iter()
        .map(|span| span.field("db.operation.name"))
        .collect();
    assert_eq!(names, ["read", "lease", "fill"]);
    for span in &operations {
        assert_eq!(span.level, Level::TRACE);
        assert_eq!(span.field("otel.kind"), "client");
        assert_eq!(span.field("db.system.name"), "redis");
        assert_eq!(span.field("cache.tier"), "l2");
        assert_eq!(span.field("outcome"), "ok");
        assert!(!span.field("server.address").is_empty());
        assert_eq!(span.parent, Some(0));
    }
    server.until_records(1).await;
    spans.clear();
    second.call(read(3)).await;
    assert_eq!(spans.names(), ["cache.get", "cache.tier"]);
    let get = spans.only("cache.get");
    assert_eq!(get.field("outcome"), "hit");
    assert_eq!(get.field("cache.hit"), "true");
    assert_eq!(get.field("cache.tier"), "l2");
    let ttl: u64 = get.field("cache.ttl").parse().unwrap();
    assert!((3_000..=3_600).contains(&ttl), "{ttl}");
    assert_ne!(get.field("cache.item_size").parse(), Ok(0));
    assert!(spans.are_closed());
}

#[tokio::test]
async fn operation_of_a_tier_that_fails_says_how() {
    let tier = FakeTier::new().time_limit(Duration::from_millis(50));
    let memory = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(memory.l2(tier.clone())).await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    tier.break_down();
    here.call(read(4)).await;
    let failed = &spans.named("cache.tier")[0];
    assert_eq!(failed.field("outcome"), "error");
    assert_eq!(failed.field("otel.status_code"), "ERROR");
    // The tier holds invalidations.
    let invalidated = here.call(read::entry(4).invalidate()).await;
    invalidated.unwrap_err();
    let held = spans.named("cache.tier").pop().unwrap();
    assert_eq!(held.field("db.operation.name"), "invalidate");
    assert_eq!(held.field("outcome"), "timeout");
}

#[tokio::test]
async fn span_of_a_waiter_follows_from_that_of_its_leader() {
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let function = builder("traces::joined").build().unwrap();
    let gate = Gate::new();
    let body = || async {
        gate.pass().await;
        1
    };
    let mut first = Box::pin(here.call(function.get_or_load((1_u64,), body)));
    assert!(poll_once(&mut first).is_pending());
    let mut second = Box::pin(here.call(function.get_or_load((1_u64,), || async { 2 })));
    assert!(poll_once(&mut second).is_pending());
    gate.open();
    assert_eq!((first.await, second.await), (1, 1));
    assert_eq!(spans.names(), ["cache.get", "cache.load", "cache.get"]);
    let waiter = &spans.all()[2];
    assert_eq!(waiter.causes, [0]);
    assert_eq!(waiter.field("outcome"), "joined");
    assert_eq!(waiter.field("cache.hit"), "false");
    assert!(spans.are_closed());
}

/// The waiter takes the lead, and so has the span from which later waiters follow.
#[tokio::test]
async fn cancelled_call_closes_its_spans() {
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let function = builder("traces::cancelled").build().unwrap();
    let call = || function.get_or_load((1_u64,), pending::<u64>);
    let mut first = Box::pin(here.call(call()));
    assert!(poll_once(&mut first).is_pending());
    let mut second = Box::pin(here.call(call()));
    assert!(poll_once(&mut second).is_pending());
    drop(first);
    let [get, load, _] = &spans.all()[..] else {
        panic!("{:?}", spans.names())
    };
    assert!(get.is_closed && load.is_closed);
    assert_eq!(get.field("outcome"), "cancelled");
    assert_eq!(load.field("outcome"), "cancelled");
    assert_eq!(load.field("error"), "dropped");
    assert!(poll_once(&mut second).is_pending());
    let mut third = Box::pin(here.call(call()));
    assert!(poll_once(&mut third).is_pending());
    assert_eq!(spans.all()[4].causes, [2]);
    drop((second, third));
    assert!(spans.are_closed());
    assert!(Span::current().is_none());
}

#[tokio::test(start_paused = true)]
async fn failures_are_recorded_by_their_kind_and_not_by_their_text() {
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    let function = builder("traces::failures").load_limit(HOUR);
    let function = function.build().unwrap();
    let load = || spans.named("cache.load").pop().unwrap();
    let returned = || async { Err::<u64, _>(Failed(SECRET)) };
    here.call(function.get_or_load((1_u64,), returned))
        .await
        .unwrap_err();
    assert_eq!(
        (load().field("outcome"), load().field("error")),
        ("error", "returned")
    );
    assert_eq!(load().field("otel.status_code"), "ERROR");
    let said = || async {
        caching::failed();
        Ok::<_, Failed>(1)
    };
    here.call(function.get_or_load((2_u64,), said))
        .await
        .unwrap();
    assert_eq!(
        (load().field("outcome"), load().field("error")),
        ("error", "said_failed")
    );
    let limited = || pending::<Result<u64, Failed>>();
    here.call(function.get_or_load((3_u64,), limited))
        .await
        .unwrap_err();
    assert_eq!(
        (load().field("outcome"), load().field("error")),
        ("cancelled", "time_limit")
    );
    assert_eq!(
        spans.named("cache.get").pop().unwrap().field("outcome"),
        "timed_out"
    );
    let plain = builder("traces::panics").build().unwrap();
    for is_limited in [false, true] {
        let (plain, limited) = (plain.clone(), function.clone());
        // Polled on this thread, whose spans are recorded.
        let call = here.spawn(async move {
            let panics = || async { panic!("{SECRET}") };
            let _: Result<u64, Failed> = match is_limited {
                true => limited.get_or_load((4_u64,), panics).await,
                false => plain.get_or_load((4_u64,), panics).await,
            };
        });
        assert!(call.await.unwrap_err().is_panic());
        assert_eq!(
            (load().field("outcome"), load().field("error")),
            ("cancelled", "panicked")
        );
        let get = spans.named("cache.get").pop().unwrap();
        assert_eq!(get.field("outcome"), "panicked");
    }
    assert!(spans.are_closed());
    assert!(!spans.mention(SECRET));
}

#[tokio::test]
async fn keys_are_in_spans_only_if_the_program_asks_for_it() {
    let function = Function::<String>::builder("traces::keys").ttl(HOUR);
    let function = function.build().unwrap();
    for is_asked in [false, true] {
        let memory = CacheRuntime::builder().l1(Memory::builder());
        let memory = match is_asked {
            true => memory.keys_in_traces(true),
            false => memory,
        };
        let here = Instance::build(memory).await;
        let spans = Spans::default();
        let _captured = spans.capture(Level::TRACE);
        let key = ("alice",);
        here.call(function.get_or_load(key, async || SECRET.to_owned()))
            .await;
        here.call(function.entry(key).invalidate()).await.unwrap();
        assert_eq!(
            spans.names(),
            ["cache.get", "cache.load", "cache.invalidate"]
        );
        for span in spans.all() {
            let shown = if is_asked { "alice" } else { "" };
            assert_eq!(span.field("cache.key"), shown, "{}", span.name);
        }
        assert_eq!(spans.mention("alice"), is_asked);
        assert!(!spans.mention(SECRET));
    }
}

#[tokio::test]
async fn body_whose_result_is_not_kept_is_recorded_as_uncached() {
    struct NoKey;
    impl serde::Serialize for NoKey {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(S::Error::custom("no key"))
        }
    }
    let here = Instance::with_memory().await;
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let function = builder("traces::uncached").build().unwrap();
    here.call(function.get_or_load((NoKey,), async || 1)).await;
    assert_eq!(spans.names(), ["cache.get", "cache.load"]);
    assert_eq!(spans.only("cache.get").field("outcome"), "uncached");
    assert_eq!(spans.only("cache.load").field("outcome"), "value");
    spans.clear();
    let inner = function.clone();
    let body = || async move { inner.get_or_load((1_u64,), async || 1).await };
    here.call(function.get_or_load((1_u64,), body)).await;
    let gets = spans.named("cache.get");
    let outcomes: Vec<_> = gets.iter().map(|span| span.field("outcome")).collect();
    assert_eq!(outcomes, ["loaded", "uncached"]);
}

#[tokio::test]
async fn batch_has_one_span_for_itself_and_one_for_each_of_its_bodies() {
    let server = Server::start();
    let (first, second) = Instance::two_at(&server.url()).await;
    let function = builder("traces::batch").build().unwrap();
    let call = async |ids: &[u64]| -> HashMap<u64, u64> {
        let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, id)).collect();
        function.get_or_load_many(ids, |id| (*id,), body).await
    };
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    first.call(call(&[1, 2, 3])).await;
    assert_eq!(spans.names(), ["cache.get", "cache.load"]);
    let (get, load) = (spans.only("cache.get"), spans.only("cache.load"));
    assert_eq!(
        (get.field("outcome"), get.field("cache.hit")),
        ("loaded", "false")
    );
    assert_eq!(
        (get.field("cache.keys"), load.field("cache.keys")),
        ("3", "3")
    );
    assert_eq!((load.field("outcome"), load.parent), ("value", Some(0)));
    assert!(spans.are_closed());
    server.until_records(3).await;
    spans.clear();
    second.call(call(&[1, 2])).await;
    assert_eq!(spans.names(), ["cache.get"]);
    let get = spans.only("cache.get");
    assert_eq!(
        (get.field("outcome"), get.field("cache.hit")),
        ("hit", "true")
    );
    assert!(get.is_closed);
    spans.clear();
    second.call(call(&[2, 3, 4])).await;
    assert_eq!(spans.only("cache.get").field("cache.keys"), "2");
    assert_eq!(spans.only("cache.load").field("cache.keys"), "1");
    spans.clear();
    let body = async |_: Vec<u64>| -> Result<HashMap<u64, u64>, Failed> { Err(Failed(SECRET)) };
    let failing = function.get_or_load_many(&[5, 6], |id| (*id,), body);
    second.call(failing).await.unwrap_err();
    let load = spans.only("cache.load");
    assert_eq!(
        (load.field("outcome"), load.field("error")),
        ("error", "returned")
    );
    spans.clear();
    let body = async |_: Vec<u64>| pending::<HashMap<u64, u64>>().await;
    let mut hanging = Box::pin(second.call(function.get_or_load_many(&[7], |id| (*id,), body)));
    while spans.named("cache.load").is_empty() {
        assert!(poll_once(&mut hanging).is_pending());
        yield_now().await;
    }
    drop(hanging);
    assert_eq!(spans.only("cache.load").field("error"), "dropped");
    assert_eq!(spans.only("cache.get").field("outcome"), "cancelled");
    assert!(spans.are_closed() && !spans.mention(SECRET));
}

#[tokio::test]
async fn operations_of_a_batch_have_one_span_for_all_keys() {
    let server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let function = builder("traces::batch_operations").build().unwrap();
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, id)).collect();
    let call = function.get_or_load_many(&[1, 2, 3], |id| (*id,), body);
    let _: HashMap<u64, u64> = here.call(call).await;
    let operations = spans.named("cache.tier");
    let names = operations
        .iter()
        .map(|span| span.field("db.operation.name"));
    assert_eq!(names.collect::<Vec<_>>(), ["read", "lease", "fill"]);
    assert!(operations.iter().all(|span| span.parent == Some(0)));
    assert!(spans.are_closed());
}
