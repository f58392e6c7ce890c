//! Tiers that fail, do not answer, or contradict themselves: no call waits for them, and none
//! returns a wrong value because of them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, ErrorKind, Level, Memory, invalidate, multi_tier_cached};
use testbed::fake_tier::FakeTier;
use testbed::until;
use tokio::sync::Semaphore;
use tokio::time::timeout;

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// An instance whose only tier is `tier`.
async fn over(tier: &FakeTier) -> CacheRuntime {
    let builder = CacheRuntime::builder().l2(tier.clone());
    builder.build().await.unwrap()
}

/// A shared tier that is coherent for as long as a test runs.
fn coherent() -> FakeTier {
    let shared = FakeTier::shared(Duration::from_secs(3_600));
    shared.prove();
    shared
}

/// An instance with a shared tier, and a private tier below it that fails every operation.
async fn above_a_broken_tier(shared: &FakeTier) -> CacheRuntime {
    let broken = FakeTier::new();
    broken.break_down();
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let builder = builder.l2(shared.clone()).l3(broken);
    builder.build().await.unwrap()
}

#[tokio::test]
async fn tier_that_exceeds_its_time_limit_delays_calls_and_invalidations_no_longer() {
    #[multi_tier_cached(ttl = "100s")]
    async fn held(_key: u64) -> u64 {
        1
    }

    let endless = FakeTier::that_holds_fills().time_limit(Duration::from_millis(50));
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .l3(endless)
        .build()
        .await
        .unwrap();
    let call = timeout(Duration::from_secs(5), on(&here, held(1)));
    assert_eq!(call.await, Ok(1), "{}", here.stats());
    let invalidation = on(&here, async { invalidate!(held, 1).await });
    let ended = timeout(Duration::from_secs(5), invalidation).await;
    let error = ended.expect("an invalidation that ends").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
}

/// The shared tier can be asked and says that it has no value, so memory must not answer as it
/// does in an outage.
#[tokio::test]
async fn memory_does_not_serve_a_removed_value_when_only_a_private_tier_fails() {
    #[multi_tier_cached(ttl = "1h")]
    async fn removed(_key: u64) -> u64 {
        REMOVED.fetch_add(1, Ordering::SeqCst)
    }
    static REMOVED: AtomicU64 = AtomicU64::new(1);

    let shared = coherent();
    let here = above_a_broken_tier(&shared).await;
    assert_eq!(on(&here, removed(1)).await, 1);
    assert_eq!(on(&here, removed(1)).await, 1);
    shared.empty();
    shared.revoke();
    let peeked = on(&here, async { removed::entry(1).peek().await }).await;
    assert_eq!(peeked, None, "{}", here.stats());
    assert_eq!(on(&here, removed(1)).await, 2, "{}", here.stats());
}

#[tokio::test]
async fn two_instances_do_not_load_at_the_same_time_when_their_private_tiers_fail() {
    /// Returns how many bodies run at this time, itself included.
    #[multi_tier_cached(ttl = "1h")]
    async fn concurrent(_key: u64) -> u64 {
        let running = RUNNING.fetch_add(1, Ordering::SeqCst) + 1;
        GATE.acquire().await.unwrap().forget();
        RUNNING.fetch_sub(1, Ordering::SeqCst);
        running
    }
    static RUNNING: AtomicU64 = AtomicU64::new(0);
    static GATE: Semaphore = Semaphore::const_new(0);

    let shared = coherent();
    let here = above_a_broken_tier(&shared).await;
    let there = above_a_broken_tier(&shared).await;
    let waits = |runtime: &CacheRuntime| {
        let stats = runtime.stats();
        let function = stats.functions.first();
        function.map_or(0, |function| function.tier(Level::L2).unwrap().lease_waits)
    };
    let release = async {
        // Without the second condition, one load could end before the other call begins.
        until("one call loads and the other loads or waits", || {
            RUNNING.load(Ordering::SeqCst) + waits(&here) + waits(&there) == 2
        })
        .await;
        GATE.add_permits(2);
    };
    let calls =
        async { tokio::join!(on(&here, concurrent(1)), on(&there, concurrent(1)), release) };
    let (first, second, ()) = timeout(Duration::from_secs(60), calls).await.unwrap();
    assert_eq!(
        (first, second),
        (1, 1),
        "{}\n{}",
        here.stats(),
        there.stats()
    );
}

/// A read of the tier does not say which stamp a valid record carries, so its record is passed
/// over; a lease says that the record is valid, so the call would wait for nothing.
#[tokio::test]
async fn call_loads_when_the_tier_calls_a_record_valid_that_it_did_not_return_as_valid() {
    #[multi_tier_cached(ttl = "1h")]
    async fn contradicted(_key: u64) -> u64 {
        CONTRADICTED.fetch_add(1, Ordering::SeqCst)
    }
    static CONTRADICTED: AtomicU64 = AtomicU64::new(1);

    let tier = FakeTier::new();
    let here = over(&tier).await;
    assert_eq!(on(&here, contradicted(1)).await, 1);
    tier.say_no_stamp();
    let call = timeout(Duration::from_secs(10), on(&here, contradicted(1)));
    assert_eq!(call.await, Ok(2), "{}", here.stats());
}

/// After a failed fill, it is unknown which value the tier has.
#[tokio::test]
async fn refresh_leaves_no_old_value_when_its_fill_fails() {
    #[multi_tier_cached(ttl = "1h")]
    async fn refreshed(_key: u64) -> u64 {
        REFRESHED.fetch_add(1, Ordering::SeqCst)
    }
    static REFRESHED: AtomicU64 = AtomicU64::new(1);

    let tier = FakeTier::new();
    let here = over(&tier).await;
    assert_eq!(on(&here, refreshed(1)).await, 1);
    tier.fill_up();
    let value = on(&here, async { refreshed::entry(1).refresh().await }).await;
    assert_eq!(value, 2);
    let there = over(&tier).await;
    assert_eq!(on(&there, refreshed(1)).await, 3, "{}", there.stats());
}

/// The flight of the put was replaced by that of the refresh, so an invalidation finds only the
/// refresh among the flights and must still void the put.
#[tokio::test]
async fn put_replaced_by_a_refresh_is_not_returned_after_an_invalidation() {
    #[multi_tier_cached(ttl = "1h")]
    async fn replaced(_key: u64) -> u64 {
        REPLACED.load(Ordering::SeqCst)
    }
    static REPLACED: AtomicU64 = AtomicU64::new(1);

    let tier = FakeTier::new();
    (0..3).for_each(|_| tier.let_through());
    let here = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(tier.clone())
        .build()
        .await
        .unwrap();
    tier.keep_back();
    let put = tokio::spawn(CacheRuntime::scope(here.clone(), async {
        replaced::entry(1).put(1).await
    }));
    until("the put waits for the tier", || tier.has_kept_back()).await;
    let refreshed = on(&here, async { replaced::entry(1).refresh().await }).await;
    assert_eq!(refreshed, 1);
    REPLACED.store(2, Ordering::SeqCst);
    let invalidation = on(&here, async { invalidate!(replaced, 1).await }).await;
    invalidation.unwrap();
    tier.answer();
    put.await.unwrap().unwrap();
    assert_eq!(on(&here, replaced(1)).await, 2, "{}", here.stats());
}
