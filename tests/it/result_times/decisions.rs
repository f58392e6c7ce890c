//! `caching::{keep_for, skip, failed}`: they concern the innermost load of the task alone.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, ManualClock, caching, multi_tier_cached};
use serde::ser::Error as _;
use serde::{Serialize, Serializer};
use testbed::counts::function_stats;
use testbed::server::Server;
use testbed::{Gate, Instance, Truth, until};
use tokio::task::yield_now;

use super::{Source, assert_life, in_memory, seconds, stats, with_redis};

const HOUR: Duration = seconds(60 * 60);

/// A decision of a body about its result.
#[derive(Clone, Copy, Debug)]
enum Decision {
    Nothing,
    KeepFor(Duration),
    Skip,
}

impl Decision {
    fn make(self) {
        let is_heard = match self {
            Self::Nothing => true,
            Self::KeepFor(ttl) => caching::keep_for(ttl),
            Self::Skip => caching::skip(),
        };
        assert!(is_heard, "{self:?} outside of a load");
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth, decision))]
async fn inner(truth: &Truth, decision: Decision, key: u64) -> u64 {
    yield_now().await;
    decision.make();
    yield_now().await;
    truth.read();
    key
}

/// Decides before and after it has called the inner function.
#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truths, before, within, after))]
async fn outer(
    truths: &[Truth; 2],
    before: Decision,
    within: Decision,
    after: Decision,
    key: u64,
) -> u64 {
    before.make();
    inner(&truths[1], within, key).await;
    after.make();
    truths[0].read();
    key
}

#[tokio::test]
async fn decision_concerns_the_innermost_load() {
    use Decision::{KeepFor, Nothing, Skip};

    let [ten, twenty] = [seconds(10), seconds(20)];
    // The decisions of the bodies, and the lives of both values.
    let cases = [
        (KeepFor(ten), KeepFor(twenty), Nothing, [ten, twenty]),
        (Nothing, KeepFor(twenty), KeepFor(ten), [ten, twenty]),
        (KeepFor(twenty), Nothing, KeepFor(ten), [ten, HOUR]),
        (Nothing, KeepFor(ten), Nothing, [HOUR, ten]),
        (Skip, Nothing, Nothing, [Duration::ZERO, HOUR]),
        (Nothing, Skip, Nothing, [HOUR, Duration::ZERO]),
        (KeepFor(ten), Nothing, Skip, [Duration::ZERO, HOUR]),
        (Skip, KeepFor(ten), KeepFor(ten), [Duration::ZERO, ten]),
    ];
    for (key, (before, within, after, lives)) in (0..).zip(cases) {
        let what = format!("{before:?}, {within:?}, {after:?}");
        for at in 0..2 {
            let clock = ManualClock::new();
            let here = in_memory(&clock).await;
            let truths = [Truth::new(), Truth::new()];
            let call_outer = || outer(&truths, before, within, after, key);
            here.call(call_outer()).await;
            let call = async || {
                match at {
                    0 => here.call(call_outer()).await,
                    _ => here.call(inner(&truths[1], within, key)).await,
                };
            };
            let reads = || truths[at].reads();
            if lives[at].is_zero() {
                call().await;
                assert_eq!(reads(), 2, "{what}: place {at}");
            } else {
                assert_life(&what, lives[at], &clock, reads, call).await;
            }
        }
    }
}

/// A hit of the inner function is no load, so there is nothing that it could decide.
#[tokio::test]
async fn decision_after_a_hit_of_another_function_concerns_the_own_load() {
    let (clock, truths) = (ManualClock::new(), [Truth::new(), Truth::new()]);
    let here = in_memory(&clock).await;
    here.call(inner(&truths[1], Decision::Nothing, 1)).await;
    let (nothing, ten) = (Decision::Nothing, Decision::KeepFor(seconds(10)));
    let call = async || {
        here.call(outer(&truths, nothing, nothing, ten, 1)).await;
    };
    call().await;
    let reads = || truths[0].reads();
    assert_life("the outer value", seconds(10), &clock, reads, call).await;
    assert_eq!(truths[1].reads(), 1);
}

/// Calls all of the functions here, and returns which of them had an effect.
fn are_heard() -> [bool; 4] {
    [
        caching::keep_for(seconds(1)),
        caching::skip(),
        caching::failed(),
        caching::stale::<u64>().is_some(),
    ]
}

#[tokio::test]
async fn decision_outside_of_a_load_does_nothing() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(truth))]
    async fn spawns(truth: &Truth, joins: bool) -> [bool; 4] {
        truth.read();
        let spawned = tokio::spawn(async { are_heard() });
        if !joins {
            spawned.abort();
            return [false; 4];
        }
        spawned.await.unwrap()
    }

    assert_eq!(are_heard(), [false; 4]);
    let (here, truth) = (Instance::with_memory().await, Truth::new());
    for _ in 0..2 {
        assert_eq!(here.call(spawns(&truth, true)).await, [false; 4]);
    }
    assert_eq!(truth.reads(), 1, "the task decided nothing about the load");
    let thread = std::thread::spawn(are_heard);
    assert_eq!(thread.join().unwrap(), [false; 4]);
    assert_eq!(are_heard(), [false; 4], "after a load");
}

/// The load runs on the thread of a caller that polls other futures too.
#[tokio::test]
async fn decision_beside_a_load_on_the_same_thread_does_nothing() {
    let (here, gate) = (Instance::with_memory().await, Gate::new());
    let function = Function::<u64>::in_memory("result_times::beside")
        .ttl(HOUR)
        .build()
        .unwrap();
    let load = || async {
        gate.pass().await;
        1
    };
    let beside = async {
        gate.until_entered(1).await;
        assert_eq!(are_heard(), [false; 4]);
        gate.open();
    };
    let call = here.call(function.get_or_load((1,), load));
    let (value, ()) = tokio::join!(call, beside);
    assert_eq!(value, 1);
    assert_eq!(here.call(function.entry((1,)).peek()).await, Some(1));
}

/// An argument that makes no key.
struct Unwritable;

impl Serialize for Unwritable {
    fn serialize<S: Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(S::Error::custom("not written, as the test wants"))
    }
}

/// Nothing of the inner body is kept, so it decides nothing, also not about the outer load.
#[tokio::test]
async fn decision_in_a_body_without_a_key_does_nothing() {
    let here = Instance::with_memory().await;
    let function = Function::<u64>::in_memory("result_times::keyless")
        .ttl(HOUR)
        .build()
        .unwrap();
    let without_key = || function.entry((Unwritable,));
    let load = || async { u64::from(are_heard() == [false; 4]) };
    for way in 0..3_u64 {
        let nested = || async {
            match way {
                0 => Box::pin(function.get_or_load((Unwritable,), load)).await,
                1 => without_key().strong(load).await,
                _ => without_key().refresh(load).await,
            }
        };
        let value = here.call(function.get_or_load((way,), nested)).await;
        assert_eq!(value, 1, "way {way}");
        let kept = here.call(function.entry((way,)).peek()).await;
        assert_eq!(kept, Some(1), "way {way}: the outer value");
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(source))]
fn plain_inner(source: &Source<()>, skips: bool) -> u64 {
    source.ask();
    assert!(!skips || caching::skip());
    1
}

#[multi_tier_cached(ttl = "1h", tiers = "l1", skip(outer, inner))]
fn plain_outer(outer: &Source<()>, inner: &Source<()>, skips: bool, inner_skips: bool) -> u64 {
    outer.ask();
    plain_inner(inner, inner_skips);
    assert!(!skips || caching::skip());
    1
}

#[tokio::test]
async fn decision_in_a_plain_function_concerns_its_own_load() {
    let here = Instance::with_memory().await;
    for (skips, inner_skips, asked) in [(true, false, [2, 1]), (false, true, [1, 2])] {
        let [outer, inner] = [Source::new(()), Source::new(())];
        CacheRuntime::scope_blocking(here.runtime.clone(), || {
            plain_outer(&outer, &inner, skips, inner_skips);
            plain_outer(&outer, &inner, skips, inner_skips);
            plain_inner(&inner, inner_skips);
        });
        assert_eq!([outer.asked(), inner.asked()], asked, "outer: {skips}");
    }
    assert_eq!(are_heard(), [false; 4]);
}

#[multi_tier_cached(ttl = "1h", skip(source))]
async fn decides(source: &Source<fn() -> bool>, _key: u64) -> Arc<str> {
    assert!(source.ask()(), "the body is in a load");
    "value".into()
}

#[tokio::test]
async fn result_of_a_load_that_skips_or_failed_is_returned_and_not_kept() {
    let server = Server::start();
    for here in [
        in_memory(&ManualClock::new()).await,
        with_redis(&server, 1.0, &ManualClock::new()).await,
    ] {
        for (errors, decision) in [(0, caching::skip as fn() -> bool), (2, caching::failed)] {
            let source = Source::new(decision);
            let before = function_stats(&here, "decisions::decides").map_or(0, |s| s.load_errors);
            for _ in 0..2 {
                assert_eq!(&*here.call(decides(&source, 1)).await, "value");
            }
            assert_eq!(source.asked(), 2);
            let counted = stats(&here, "decisions::decides");
            assert_eq!(counted.load_errors, before + errors);
        }
    }
    until("the leases are released", || !server.has_lease()).await;
    assert_eq!(server.records(), [""; 0]);
}

#[tokio::test]
async fn refresh_whose_body_skips_drops_the_value_and_one_that_failed_leaves_it() {
    let server = Server::start();
    let here = with_redis(&server, 1.0, &ManualClock::new()).await;
    for (decision, left) in [
        (caching::failed as fn() -> bool, true),
        (caching::skip, false),
    ] {
        let source = Source::new((|| true) as fn() -> bool);
        here.call(decides(&source, 2)).await;
        server.until_records(1).await;
        source.answers(decision);
        let refreshed = here.call(decides::entry(&source, 2).refresh()).await;
        assert_eq!(&*refreshed, "value");
        let kept = here.call(decides::entry(&source, 2).peek()).await;
        assert_eq!(kept.is_some(), left);
        assert_eq!(server.records().len(), usize::from(left));
    }
}

#[tokio::test]
async fn waiters_get_the_result_of_a_load_that_skips_or_failed() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(source))]
    async fn slow(source: &Source<fn() -> bool>) -> u64 {
        assert!(source.ask()());
        yield_now().await;
        source.asked()
    }

    for decision in [caching::skip as fn() -> bool, caching::failed] {
        let (here, source) = (Instance::with_memory().await, Source::new(decision));
        let call = || here.call(slow(&source));
        assert_eq!(tokio::join!(call(), call(), call()), (1, 1, 1));
        assert_eq!(call().await, 2);
    }
}

/// The next load of the key runs on the same thread.
#[tokio::test]
async fn decision_of_a_body_that_is_dropped_or_panics_ends_with_it() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(source))]
    async fn ends(source: &Source<Option<bool>>) -> u64 {
        match source.ask() {
            None => assert_eq!(caching::stale::<u64>(), None),
            Some(panics) => {
                assert!(caching::skip());
                assert!(!panics, "as the test wants");
                std::future::pending::<()>().await;
            }
        }
        source.asked()
    }

    for panics in [false, true] {
        let here = Instance::with_memory().await;
        let source = Arc::new(Source::new(Some(panics)));
        let own = Arc::clone(&source);
        let load = here.spawn(async move { ends(&own).await });
        until("the body runs", || source.asked() == 1).await;
        load.abort();
        assert!(load.await.is_err());
        assert_eq!(are_heard(), [false; 4]);
        source.answers(None);
        for _ in 0..2 {
            assert_eq!(here.call(ends(&source)).await, 2);
        }
    }
}
