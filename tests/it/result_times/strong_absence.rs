//! Kept absence, and calls that cannot return it: strong calls of a key that has a value again,
//! and calls of a function whose result type has no `None`.

use multi_tier_cached::{Consistency, Function, FunctionBuilder, ManualClock, multi_tier_cached};
use testbed::server::Server;
use testbed::{Instance, until_ok};
use tokio::time::timeout;

use super::{Source, in_memory, seconds, with_redis};

type Found = Option<u64>;

#[multi_tier_cached(ttl = "1h", none_ttl = "30s", skip(source))]
async fn find(source: &Source<Found>, _key: u64) -> Found {
    source.ask()
}

#[multi_tier_cached(ttl = "1h", none_ttl = "30s", consistency = "strong", skip(source))]
async fn find_strong(source: &Source<Found>, _key: u64) -> Found {
    source.ask()
}

#[tokio::test]
async fn strong_call_reads_the_absence_that_is_current_and_no_other() {
    let (server, source) = (Server::start(), Source::new(None));
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    assert_eq!(here.call(find(&source, 1)).await, None);
    server.until_records(1).await;
    let strong = async || there.call(find::entry(&source, 1).strong()).await;
    assert_eq!(strong().await, None);
    assert_eq!(source.asked(), 1, "the absence is in Redis");
    let put = async { find::entry(&source, 1).put(5).await };
    here.call(put).await.unwrap();
    // Without a wait: a strong call does not depend on messages.
    assert_eq!(strong().await, Some(5));
    assert_eq!(there.call(find(&source, 1)).await, Some(5));
    assert_eq!(source.asked(), 1);
    let invalidation = here.invalidate(find::invalidation(&source, 1));
    invalidation.await;
    assert_eq!(strong().await, None);
    assert_eq!(source.asked(), 2);
    assert_eq!(there.call(find(&source, 1)).await, None);
    assert_eq!(source.asked(), 2, "the absence that the strong call found");
}

#[tokio::test]
async fn strong_function_keeps_the_absence_below_memory() {
    let (server, source) = (Server::start(), Source::new(None));
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    let there = with_redis(&server, 1.0, &ManualClock::new()).await;
    for instance in [&here, &there, &here] {
        assert_eq!(instance.call(find_strong(&source, 1)).await, None);
    }
    assert_eq!(source.asked(), 1);
    let put = async { find_strong::entry(&source, 1).put(5).await };
    here.call(put).await.unwrap();
    assert_eq!(there.call(find_strong(&source, 1)).await, Some(5));
    assert_eq!(source.asked(), 1);
}

/// How a call of a function gets its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Plain,
    Late,
    Strong,
}

/// A function of which the test calls a key with and without a `None` in the result.
struct Needed {
    function: Function<u64>,
    way: Way,
}

impl Needed {
    fn new(name: &'static str, way: Way) -> Self {
        let builder: FunctionBuilder<u64> = Function::builder(name);
        let mut builder = builder.ttl(seconds(3_600)).none_ttl(seconds(30));
        builder = match way {
            Way::Plain => builder,
            Way::Late => builder.stale_while_revalidate(seconds(60)),
            Way::Strong => builder.consistency(Consistency::Strong),
        };
        let function = builder.build().unwrap();
        Self { function, way }
    }

    async fn keep_absence(&self, instance: &Instance) {
        let load = || async { None::<u64> };
        let found: Found = instance.call(self.function.get_or_load((1,), load)).await;
        assert_eq!(found, None);
    }

    /// Calls with a result that has no `None`.
    async fn call(&self, instance: &Instance, source: &'static Source<u64>) -> u64 {
        let function = &self.function;
        let load = move || async move { source.ask() };
        let call = async {
            match self.way {
                Way::Plain | Way::Strong => instance.call(function.get_or_load((1,), load)).await,
                Way::Late => instance.call(function.get_or_load_late((1,), load)).await,
            }
        };
        let value = timeout(seconds(20), call).await;
        value.unwrap_or_else(|_| panic!("a call ({:?}) does not end", self.way))
    }
}

#[tokio::test]
async fn call_that_cannot_return_the_absence_in_memory_loads_once_and_keeps_the_value() {
    static SOURCE: Source<u64> = Source::new(5);
    for (loads, name, way) in [
        (1, "result_times::needed_plain", Way::Plain),
        (2, "result_times::needed_late", Way::Late),
    ] {
        let here = in_memory(&ManualClock::new()).await;
        let needed = Needed::new(name, way);
        needed.keep_absence(&here).await;
        for _ in 0..3 {
            assert_eq!(needed.call(&here, &SOURCE).await, 5);
        }
        assert_eq!(SOURCE.asked(), loads, "{way:?}");
    }
}

#[tokio::test]
async fn call_that_cannot_return_the_absence_in_redis_loads_once_and_replaces_it() {
    static SOURCE: Source<u64> = Source::new(5);
    for (loads, name, way) in [
        (1, "result_times::replaced_plain", Way::Plain),
        (2, "result_times::replaced_late", Way::Late),
        (3, "result_times::replaced_strong", Way::Strong),
    ] {
        let server = Server::start();
        let here = with_redis(&server, 1.0, &ManualClock::new()).await;
        let there = with_redis(&server, 1.0, &ManualClock::new()).await;
        let needed = Needed::new(name, way);
        needed.keep_absence(&here).await;
        server.until_records(1).await;
        for _ in 0..3 {
            assert_eq!(needed.call(&there, &SOURCE).await, 5, "{way:?}");
        }
        assert_eq!(SOURCE.asked(), loads, "{way:?}");
        until_ok("the value has replaced the absence in Redis", async || {
            let third = with_redis(&server, 1.0, &ManualClock::new()).await;
            let found = third.call(needed.function.entry((1,)).peek()).await;
            (found == Some(5)).then_some(()).ok_or("not yet")
        })
        .await;
    }
}
