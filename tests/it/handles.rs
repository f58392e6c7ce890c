//! Handles: look, drop, replace, load again.

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Consistency, ErrorKind, Function, Level, ManualClock, Memory, Redis, TierConfig,
    invalidate, multi_tier_cached,
};

use testbed::server::Server;
use testbed::{memory_alone, poll_until, two_tiers, until_ok};

type Answer<T> = Result<T, std::fmt::Error>;
type Maybe = Answer<Option<u64>>;

thread_local! {
    /// A test has a thread of its own.
    static LOADS: Cell<u64> = const { Cell::new(100) };
}

fn next() -> u64 {
    LOADS.replace(LOADS.get() + 1)
}

#[multi_tier_cached(ttl = "1h")]
async fn plain(_id: u64) -> u64 {
    next()
}

#[multi_tier_cached(ttl = "1h")]
async fn fallible(id: u64) -> Answer<u64> {
    if id == 0 {
        Err(std::fmt::Error)
    } else {
        Ok(next())
    }
}

#[multi_tier_cached(ttl = "1h")]
async fn optional(id: u64) -> Option<u64> {
    (id > 0).then(next)
}

#[multi_tier_cached(ttl = "1h")]
async fn nested(id: u64) -> Maybe {
    if id == 0 { Ok(None) } else { Ok(Some(next())) }
}

#[multi_tier_cached(ttl = "1h")]
async fn named(_name: &str) -> u64 {
    next()
}

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
async fn shared(_id: u64) -> Arc<u64> {
    Arc::new(next())
}

/// In here a `T` is one value, whatever it is for the caller.
#[multi_tier_cached(ttl = "1h")]
async fn generic<T>(_id: u64) -> T
where
    T: From<u64> + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    T::from(next())
}

#[multi_tier_cached(ttl = "1h")]
async fn generic_fallible<T>(_id: u64) -> Answer<T>
where
    T: From<u64> + Clone + Send + Sync + serde::Serialize + serde::de::DeserializeOwned + 'static,
{
    Ok(T::from(next()))
}

/// The same for every kind of result, through aliases too.
macro_rules! check_handle {
    ($function:ident, $value:expr => $returned:expr) => {{
        let loaded = $function(1).await;
        assert_eq!($function(1).await, loaded);
        assert!($function::entry(1).peek().await.is_some());
        assert_eq!($function::entry(2).peek().await, None, "peek does not load");
        let value = $value;
        $function::entry(1).put(value.clone()).await.unwrap();
        assert_eq!($function::entry(1).peek().await, Some(value.clone()));
        assert_eq!($function(1).await, $returned(value.clone()));
        let refreshed = $function::entry(1).refresh().await;
        assert_ne!(refreshed, $returned(value));
        assert_eq!($function(1).await, refreshed);
        $function::entry(1).invalidate().await.unwrap();
        assert_eq!($function::entry(1).peek().await, None);
    }};
}

async fn check_all() {
    check_handle!(plain, 7u64 => |value| value);
    check_handle!(fallible, 7u64 => Ok);
    check_handle!(optional, 7u64 => Some);
    check_handle!(nested, 7u64 => |value| Ok(Some(value)));
    check_handle!(shared, Arc::new(7u64) => |value| value);
}

#[tokio::test]
async fn a_handle_works_for_every_kind_of_result() {
    let server = Server::start();
    CacheRuntime::scope(memory_alone().await, check_all()).await;
    CacheRuntime::scope(two_tiers(&server.url()).await, check_all()).await;
}

/// What the function keeps as one `T` the handle shows as the `Option` it is.
#[tokio::test]
async fn a_handle_sees_into_what_a_generic_function_keeps_whole() {
    let server = Server::start();
    for runtime in [memory_alone().await, two_tiers(&server.url()).await] {
        CacheRuntime::scope(runtime, async {
            let entry = || generic::entry::<Option<u64>>(1);
            assert_eq!(entry().peek().await, None);
            let loaded: Option<u64> = generic(1).await;
            assert_eq!(entry().peek().await, loaded);
            entry().put(7).await.unwrap();
            assert_eq!(generic::<Option<u64>>(1).await, Some(7));
            let refreshed = entry().refresh().await;
            assert_ne!(refreshed, Some(7));
            assert_eq!(generic::<Option<u64>>(1).await, refreshed);

            let entry = || generic_fallible::entry::<Option<u64>>(1);
            let loaded: Maybe = generic_fallible(1).await;
            assert_eq!(entry().peek().await, loaded.unwrap());
            entry().put(8).await.unwrap();
            assert_eq!(generic_fallible::<Option<u64>>(1).await, Ok(Some(8)));
            let refreshed = entry().refresh().await;
            assert_ne!(refreshed, Ok(Some(8)));
            assert_eq!(generic_fallible::<Option<u64>>(1).await, refreshed);
        })
        .await;
    }
}

/// A `Result` that is kept whole can only be dropped; no method pretends more.
#[tokio::test]
async fn a_handle_of_a_result_that_is_kept_whole_drops_it() {
    #[multi_tier_cached(ttl = "1h", tiers = "l1", skip(make))]
    async fn whole<T: Clone + Send + Sync + 'static>(make: fn(u64) -> T) -> T {
        make(next())
    }
    CacheRuntime::scope(memory_alone().await, async {
        let call = || whole::<Answer<u64>>(Ok);
        let entry = || whole::entry::<Answer<u64>>(Ok);
        let first = call().await;
        assert_eq!(call().await, first);
        assert_eq!(entry().peek().await, None);
        let error = entry().put(7).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert_eq!(call().await, first);
        let refreshed = entry().refresh().await;
        assert_ne!(refreshed, first);
        assert_ne!(call().await, first, "the old one is gone");
        entry().invalidate().await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn none_and_err_are_not_kept() {
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(
            (fallible(0).await, optional(0).await, nested(0).await),
            (Err(std::fmt::Error), None, Ok(None))
        );
        let loads = LOADS.get();
        assert_eq!(fallible::entry(0).peek().await, None);
        assert_eq!(nested::entry(0).refresh().await, Ok(None));
        assert_eq!(LOADS.get(), loads);
    })
    .await;
}

#[tokio::test]
async fn an_arc_is_held_as_it_is() {
    CacheRuntime::scope(memory_alone().await, async {
        let first = shared(5).await;
        assert!(Arc::ptr_eq(&first, &shared(5).await));
        assert!(Arc::ptr_eq(&first, &shared::entry(5).peek().await.unwrap()));
        assert_eq!(Arc::strong_count(&first), 2, "one here, one in memory");
    })
    .await;
}

#[tokio::test]
async fn a_put_is_seen_by_other_instances_and_not_overwritten_by_a_load_under_way() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    CacheRuntime::scope(here, async {
        let mut load = Box::pin(plain(50));
        while !server.keys().iter().any(|key| key.ends_with("50#lease")) {
            assert!(poll_until(&mut load, 1).await.is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        plain::entry(50).put(1).await.unwrap();
        load.await;
        assert_eq!(plain(50).await, 1);
    })
    .await;
    assert_eq!(
        CacheRuntime::scope(there, async { plain(50).await }).await,
        1
    );
}

#[tokio::test]
async fn an_invalidation_is_a_future_of_its_own() {
    let runtime = memory_alone().await;
    // A task has no scope but its own, for an invalidation as for a call.
    let spawn = |invalidation| tokio::spawn(CacheRuntime::scope(runtime.clone(), invalidation));
    CacheRuntime::scope(runtime.clone(), async {
        let first = plain(60).await;
        spawn(invalidate!(plain, 60)).await.unwrap().unwrap();
        let second = plain(60).await;
        assert_ne!(first, second);
        spawn(invalidate!(plain)).await.unwrap().unwrap();
        assert_ne!(second, plain(60).await);
        // It holds nothing of what it was given.
        let invalidation = {
            let name = String::from("here");
            named(&name).await;
            invalidate!(named, &name)
        };
        spawn(invalidation).await.unwrap().unwrap();
        assert_eq!(named::entry("here").peek().await, None);
    })
    .await;
}

#[tokio::test]
async fn a_function_without_the_attribute_does_the_same() {
    let minute = Duration::from_secs(60);
    let function = Function::<u64>::builder("handles::function")
        .ttl(minute)
        .cache_if(|value| *value < 10)
        .build()
        .unwrap();
    let duplicate = Function::<u64>::builder("handles::function")
        .ttl(minute)
        .build()
        .unwrap_err();
    assert_eq!(duplicate.kind(), ErrorKind::DuplicateFunction);
    assert!(
        duplicate.to_string().matches("handles.rs:").count() == 2,
        "{duplicate}"
    );
    let annotated = Function::<u64>::builder("it::handles::plain")
        .ttl(minute)
        .build()
        .unwrap_err();
    assert_eq!(annotated.kind(), ErrorKind::DuplicateFunction);
    assert!(Function::<u64>::builder("handles::no_ttl").build().is_err());
    assert!(
        Function::<u64>::builder("handles::zero")
            .ttl(Duration::ZERO)
            .build()
            .is_err()
    );
    CacheRuntime::scope(memory_alone().await, async {
        assert_eq!(function.get_or_load((1,), || async { 1 }).await, 1);
        let result: Result<u64, String> = function
            .get_or_load((1,), || async { Err("never runs".to_owned()) })
            .await;
        assert_eq!(result, Ok(1));
        let none: Option<u64> = function.get_or_load((2,), || async { None }).await;
        assert_eq!(none, None);
        assert_eq!(
            function.get_or_load((3,), || async { 11 }).await,
            11,
            "not kept"
        );
        assert_eq!(function.entry((3,)).peek().await, None);
        function.entry((4,)).put(4).await.unwrap();
        assert_eq!(function.entry((4,)).refresh(|| async { 5 }).await, 5);
        assert_eq!(function.get_or_load((4,), || async { 6 }).await, 5);
        function.invalidate_all().await.unwrap();
        assert_eq!(function.get_or_load((4,), || async { 6 }).await, 6);
    })
    .await;
}

/// Rebuilt under its name, a function gets its tiers again, and its runtime forgets the old one.
#[tokio::test]
async fn a_function_that_is_gone_leaves_its_name_and_nothing_behind() {
    let server = Server::start();
    let runtime = two_tiers(&server.url()).await;
    CacheRuntime::scope(runtime.clone(), async {
        for n in 0..10 {
            let function =
                Function::<u64>::builder("handles::rebuilt").ttl(Duration::from_secs(60));
            let function = function.version(n).build().unwrap();
            function.get_or_load((1,), || async { 1 }).await;
        }
    })
    .await;
    assert_eq!(server.records().len(), 10);
    assert_eq!(runtime.stats().functions.len(), 1);
}

/// A load that began before a refresh ends after it: the refreshed value stays, in memory and in Redis.
#[tokio::test]
async fn a_refresh_is_not_overwritten_by_a_load_that_began_before_it() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    let function = Function::<u64>::builder("handles::refreshed").ttl(Duration::from_secs(60));
    let function = function.build().unwrap();
    CacheRuntime::scope(here, async {
        let gate = tokio::sync::Semaphore::new(0);
        let slow = || async {
            let _ = gate.acquire().await.unwrap();
            1
        };
        let mut load = Box::pin(function.get_or_load((1,), slow));
        while !server.keys().iter().any(|key| key.ends_with("#lease")) {
            assert!(poll_until(&mut load, 1).await.is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(function.entry((1,)).refresh(|| async { 2 }).await, 2);
        gate.add_permits(1);
        assert_eq!(load.await, 1, "who waited for the old load gets its value");
        assert_eq!(function.get_or_load((1,), || async { 3 }).await, 2);
    })
    .await;
    let value = CacheRuntime::scope(there, async { function.entry((1,)).peek().await }).await;
    assert_eq!(value, Some(2));
}

/// A refresh that finds nothing to keep leaves nothing.
#[tokio::test]
async fn a_refresh_that_finds_nothing_drops_the_value() {
    let server = Server::start();
    let (here, there) = (
        two_tiers(&server.url()).await,
        two_tiers(&server.url()).await,
    );
    let function = Function::<u64>::builder("handles::emptied")
        .ttl(Duration::from_secs(60))
        .cache_if(|value| *value < 10)
        .build()
        .unwrap();
    for (key, emptied) in [(1u64, None), (2, Some(11))] {
        CacheRuntime::scope(here.clone(), async {
            assert_eq!(function.get_or_load((key,), || async { 3 }).await, 3);
            let refreshed = function.entry((key,)).refresh(|| async { emptied }).await;
            assert_eq!(refreshed, emptied);
            assert_eq!(function.entry((key,)).peek().await, None);
        })
        .await;
        let peeked =
            CacheRuntime::scope(there.clone(), async { function.entry((key,)).peek().await });
        assert_eq!(peeked.await, None);
    }
    let failed: Result<u64, ()> = CacheRuntime::scope(here, async {
        function.get_or_load((3u64,), || async { 3 }).await;
        let failed = function.entry((3u64,)).refresh(|| async { Err(()) }).await;
        assert_eq!(
            function.entry((3u64,)).peek().await,
            Some(3),
            "a failure says nothing of the value"
        );
        failed
    })
    .await;
    assert_eq!(failed, Err(()));
}

#[tokio::test]
async fn what_is_put_is_judged_as_what_is_loaded() {
    let function = Function::<u64>::builder("handles::judged")
        .ttl(Duration::from_secs(60))
        .cache_if(|value| *value < 10)
        .build()
        .unwrap();
    CacheRuntime::scope(memory_alone().await, async {
        let entry = function.entry((1,));
        entry.put(5).await.unwrap();
        assert_eq!(entry.peek().await, Some(5));
        entry.put(50).await.unwrap();
        assert_eq!(entry.peek().await, None);
    })
    .await;
}

#[test]
fn what_would_be_ignored_is_refused() {
    let minute = Duration::from_secs(60);
    let wrong = |made: Result<Function<u64>, multi_tier_cached::Error>, says: &str| {
        let error = made.map(drop).unwrap_err().to_string();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    };
    let made = || Function::<u64>::builder("handles::wrong").ttl(minute);
    let in_memory = || Function::<u64>::in_memory("handles::wrong").ttl(minute);
    let (l1, l2) = (Level::L1, Level::L2);
    wrong(made().tiers([l2, l1, l2]).build(), "l2 is listed twice");
    wrong(
        in_memory().tiers([l1, l2]).build(),
        "has a tier below memory",
    );
    wrong(
        in_memory().codec("json").build(),
        "need a tier below memory",
    );
    let strong = made().tiers([l1]).consistency(Consistency::Strong);
    wrong(strong.build(), "need a tier below memory");
    let times = made().ttl([(l1, minute), (l2, minute)]).tiers([l1]);
    wrong(times.build(), "a time for l2");
    assert!(made().tiers([l2, l1]).build().is_ok());
}

#[tokio::test]
async fn a_value_may_have_a_time_of_its_own() {
    let server = Server::start();
    let clock = ManualClock::new();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .tier(Redis::new(server.url()), TierConfig::as_l2().ttl_scale(2.0))
        .clock(&clock)
        .build()
        .await
        .unwrap();
    CacheRuntime::scope(runtime.clone(), async {
        let entry = plain::entry(77);
        let hits = || runtime.stats().functions[0].tier(Level::L1).unwrap().hits;
        // The put's own message on the channel voids what memory has if it arrives after the value was kept.
        until_ok("memory keeps what is put", async || {
            entry.put_for(5, Duration::from_secs(10)).await.unwrap();
            let before = hits();
            assert_eq!(plain(77).await, 5);
            (hits() > before)
                .then_some(())
                .ok_or("the value was voided")
        })
        .await;
        let life: u64 = server.command(&["PTTL", &server.records()[0]]);
        assert!((19_000 - 500..=20_000).contains(&life), "{life}");
        let before = hits();
        clock.advance(Duration::from_secs(9));
        assert_eq!((plain(77).await, hits()), (5, before + 1));
        clock.advance(Duration::from_secs(1));
        assert_eq!((plain(77).await, hits()), (5, before + 1));
        for wrong in [Duration::ZERO, Duration::MAX] {
            let error = entry.put_for(6, wrong).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Configuration);
        }
        assert_eq!(plain(77).await, 5);
    })
    .await;
}

/// The tier has it for longer than that.
#[tokio::test]
async fn a_copy_of_a_value_with_a_time_of_its_own_lives_no_longer_than_that() {
    let server = Server::start();
    let clock = ManualClock::new();
    let scaled = || TierConfig::as_l2().ttl_scale(8.0);
    let make = async |clock: &ManualClock| {
        CacheRuntime::builder()
            .l1(Memory::builder())
            .tier(Redis::new(server.url()), scaled())
            .clock(clock)
            .build()
            .await
            .unwrap()
    };
    let there = make(&ManualClock::new()).await;
    let put = async { plain::entry(78).put_for(5, Duration::from_secs(10)).await };
    CacheRuntime::scope(there, put).await.unwrap();
    let here = make(&clock).await;
    CacheRuntime::scope(here.clone(), async {
        let hits = || here.stats().functions[0].tier(Level::L1).unwrap().hits;
        assert_eq!((plain(78).await, hits()), (5, 0));
        clock.advance(Duration::from_secs(9));
        assert_eq!((plain(78).await, hits()), (5, 1));
        clock.advance(Duration::from_secs(1));
        assert_eq!((plain(78).await, hits()), (5, 1));
    })
    .await;
}

/// Nothing is kept where nothing can be: a put says so, and why.
#[tokio::test]
async fn a_value_is_not_put_into_a_function_that_is_not_cached() {
    let function = Function::<u64>::builder("handles::flawed");
    let function = function
        .ttl(multi_tier_cached::Ttl::policy("none"))
        .build()
        .unwrap();
    let runtime = memory_alone().await;
    let put = CacheRuntime::scope(runtime, async { function.entry((1,)).put(1).await });
    let error = format!("{:?}", put.await.unwrap_err());
    assert!(
        error.contains("is not cached") && error.contains("unknown policy `none`"),
        "{error}"
    );
}
