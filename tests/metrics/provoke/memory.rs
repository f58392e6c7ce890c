//! Memory, and functions with times besides their ttl.

use std::any::Any;
use std::future::pending;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Engine, Function, LoadTimeout, ManualClock, Memory, Tag, caching,
};
use serde::{Serialize, Serializer};
use testbed::{Instance, until};

const SECOND: Duration = Duration::from_secs(1);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Failed;

impl From<LoadTimeout> for Failed {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

/// An argument that makes no key.
struct NoKey;

impl Serialize for NoKey {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("this argument has no form"))
    }
}

/// A memory of few entries that is full, and functions whose values are stale, empty or failed.
pub(super) async fn entries() -> (CacheRuntime, Box<dyn Any>) {
    let clock = ManualClock::new();
    let memory = Memory::builder().engine(Engine::QuickCache).max_entries(50);
    let here = Instance::build(CacheRuntime::builder().l1(memory).clock(&clock)).await;
    // A function that is dropped has no samples any more.
    let stale = stale_values(&here, &clock).await;
    let empty = kept_results(&here, &clock).await;
    let limited = limits(&here).await;
    let uncached = uncached(&here).await;
    here.runtime.invalidate_all().await.unwrap();
    let many = Function::<u64>::builder("provoke::many")
        .ttl(SECOND)
        .build();
    let many = many.unwrap();
    for key in 0..500_u64 {
        let call = many.get_or_load((key,), || async move { key });
        assert_eq!(here.call(call).await, key);
    }
    (
        here.runtime,
        Box::new((stale, empty, limited, uncached, many)),
    )
}

async fn stale_values(here: &Instance, clock: &ManualClock) -> [Function<u64>; 2] {
    let function = Function::<u64>::builder("provoke::stale")
        .ttl(SECOND)
        .stale_while_revalidate(SECOND * 1_000)
        .stale_if_error(SECOND * 1_000)
        .build()
        .unwrap();
    let call = |result: Result<u64, Failed>| {
        let call = function.get_or_load_late((1,), move || async move { result });
        here.call(call)
    };
    assert_eq!(call(Ok(1)).await, Ok(1));
    // A refresh that works, and one that fails and backs the key off.
    for (number, result, expected) in [(1, Ok(2), 1), (2, Err(Failed), 2)] {
        clock.advance(SECOND * 2);
        assert_eq!(call(result).await, Ok(expected));
        until("the refresh has ended", || {
            let stats = here.stats();
            let refreshes = stats
                .function("provoke::stale")
                .map(|function| function.refreshes);
            refreshes == Some(number) && here.loads_under_way() == 0
        })
        .await;
    }
    assert_eq!(call(Ok(3)).await, Ok(2), "the key is backed off");
    // The window of stale values that are refreshed in the background has ended.
    clock.advance(SECOND * 100);
    here.call(function.entry((1,)).expire()).await.unwrap();
    let foreground = Function::<u64>::builder("provoke::failing")
        .ttl(SECOND)
        .stale_if_error(SECOND * 1_000)
        .build()
        .unwrap();
    let call_foreground = |result: Result<u64, Failed>| {
        let call = foreground.get_or_load((1,), move || async move { result });
        here.call(call)
    };
    assert_eq!(call_foreground(Ok(1)).await, Ok(1));
    clock.advance(SECOND * 2);
    assert_eq!(call_foreground(Err(Failed)).await, Ok(1));
    [function, foreground]
}

async fn kept_results(here: &Instance, clock: &ManualClock) -> Box<dyn Any> {
    let function = Function::<u64>::builder("provoke::kept")
        .ttl(SECOND)
        .none_ttl(SECOND)
        .error_ttl(SECOND)
        .error_if::<Failed>(|_| true)
        .build()
        .unwrap();
    for (key, result) in [(1_u64, Ok(None)), (2, Err(Failed))] {
        for _ in 0..2 {
            let given: Result<Option<u64>, Failed> = result.clone();
            let call = function.get_or_load((key,), move || async move { given });
            assert_eq!(here.call(call).await, result);
        }
    }
    let panics = Function::<u64>::builder("provoke::panics")
        .ttl(SECOND)
        .build();
    let panics = panics.unwrap();
    let call = here.spawn(async move {
        panics
            .get_or_load((1,), || async { panic!("provoked") })
            .await
    });
    let _: Result<u64, _> = call.await;
    clock.advance(SECOND * 10);
    Box::new(function)
}

async fn limits(here: &Instance) -> Box<dyn Any> {
    let hang = || pending::<Result<u64, Failed>>();
    let limited = Function::<u64>::builder("provoke::limited")
        .ttl(SECOND)
        .load_limit(SECOND / 100)
        .build()
        .unwrap();
    let call = limited.get_or_load((1,), hang);
    assert_eq!(here.call(call).await, Err(Failed));
    let hard = Function::<u64>::builder("provoke::hard")
        .ttl(SECOND)
        .hard_timeout(SECOND / 100)
        .build()
        .unwrap();
    let call = hard.get_or_load_late((1,), hang);
    assert_eq!(here.call(call).await, Err(Failed));
    Box::new((limited, hard))
}

async fn uncached(here: &Instance) -> Function<u64> {
    let function = Function::<u64>::builder("provoke::uncached")
        .ttl(SECOND)
        .build();
    let function = function.unwrap();
    let call = function.get_or_load((NoKey,), || async { 1 });
    assert_eq!(here.call(call).await, 1);
    let call = function.get_or_load((1,), || async {
        caching::tag(Tag::new("provoked"));
        1
    });
    assert_eq!(here.call(call).await, 1);
    let both = async {
        let load = || async {
            tokio::task::yield_now().await;
            1
        };
        tokio::join!(
            function.get_or_load((2,), load),
            function.get_or_load((2,), load)
        )
    };
    assert_eq!(here.call(both).await, (1, 1));
    function
}

/// A memory of bytes, of the other engine.
pub(super) async fn bytes() -> (CacheRuntime, Box<dyn Any>) {
    let memory = Memory::builder().engine(Engine::Moka).max_bytes(1 << 20);
    let here = Instance::build(CacheRuntime::builder().l1(memory)).await;
    let function = Function::<String>::builder("provoke::text")
        .ttl(SECOND)
        .build();
    let function = function.unwrap();
    let call = function.get_or_load((1,), || async { "text".repeat(100) });
    assert_eq!(here.call(call).await.len(), 400);
    // The engine counts an entry in its next maintenance.
    assert_eq!(here.entries_in_memory(), 1);
    (here.runtime, Box::new(function))
}

/// A body that runs, and more loads in the background than there are places for.
pub(super) async fn loads_in_progress() -> (CacheRuntime, Box<dyn Any>) {
    let clock = ManualClock::new();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let here = Instance::build(builder.background_loads(1).clock(&clock)).await;
    let function = Function::<u64>::builder("provoke::in_progress").ttl(SECOND);
    let called = function.build().unwrap();
    let runs = here.spawn(async move { called.get_or_load((1,), pending::<u64>).await });
    until("a body runs", || here.loads_under_way() == 1).await;
    let stale = Function::<u64>::builder("provoke::in_background")
        .ttl(SECOND)
        .stale_while_revalidate(SECOND * 1_000)
        .build()
        .unwrap();
    // 1,024 loads wait at most.
    const KEYS: u64 = 1_100;
    for key in 0..KEYS {
        let call = stale.get_or_load_late((key,), move || async move { Ok::<_, Failed>(key) });
        assert_eq!(here.call(call).await, Ok(key));
    }
    clock.advance(SECOND * 2);
    for key in 0..KEYS {
        let call = stale.get_or_load_late((key,), pending::<Result<u64, Failed>>);
        assert_eq!(here.call(call).await, Ok(key), "the stale value, at once");
    }
    until("a load runs in the background", || {
        let background = here.background_loads();
        background.running == 1 && background.waiting > 0
    })
    .await;
    (here.runtime, Box::new((runs, stale)))
}
