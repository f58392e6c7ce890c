//! After a strong call returned a value, no later call on the same instance answers an older one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Level, Memory, Promotion, RuntimeBuilder, TierConfig, multi_tier_cached,
};
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;

use testbed::fake_tier::{FakeTier, HeldAt, HeldRead};
use testbed::{poll_until, until};

/// The source of truth, by key.
static VERSIONS: Mutex<[u64; 16]> = Mutex::new([1; 16]);

fn change(key: usize) {
    VERSIONS.lock().unwrap()[key] += 1;
}

#[multi_tier_cached(ttl = "1h")]
async fn version(key: usize) -> u64 {
    VERSIONS.lock().unwrap()[key]
}

/// Two instances that share a tier, whose reads the test holds.
struct Instances {
    fake_tier: FakeTier,
    here: CacheRuntime,
    there: CacheRuntime,
}

impl Instances {
    async fn new(promotion: Promotion) -> Self {
        Self::on(FakeTier::shared(Duration::from_secs(3600)), promotion).await
    }

    async fn on(fake_tier: FakeTier, promotion: Promotion) -> Self {
        fake_tier.prove();
        let instance = || async {
            let tiers = CacheRuntime::builder().l1(Memory::builder());
            let tiers = tiers.tier(fake_tier.clone(), TierConfig::as_l2().promotion(promotion));
            tiers.build().await.unwrap()
        };
        let (here, there) = (instance().await, instance().await);
        Self {
            fake_tier,
            here,
            there,
        }
    }

    /// A call here, which runs until its read is held.
    async fn hold<F>(&self, at: HeldAt, call: F) -> (Arc<HeldRead>, JoinHandle<u64>)
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let held = self.fake_tier.hold_read(at);
        let call = tokio::spawn(CacheRuntime::scope(self.here.clone(), call));
        until("the read is held", || held.is_reached()).await;
        (held, call)
    }

    async fn bounded(&self, key: usize) -> u64 {
        CacheRuntime::scope(self.here.clone(), version(key)).await
    }

    async fn strong(&self, key: usize) -> u64 {
        CacheRuntime::scope(self.here.clone(), strong(key)).await
    }

    /// Another instance stores a newer value. A refresh invalidates nothing, so memory here hears nothing of it.
    async fn refresh_there(&self, key: usize) -> u64 {
        change(key);
        CacheRuntime::scope(self.there.clone(), refresh(key)).await
    }
}

async fn strong(key: usize) -> u64 {
    version::entry(key).strong().await
}

async fn refresh(key: usize) -> u64 {
    version::entry(key).refresh().await
}

/// The bounded read is promoted and the strong one is not.
#[tokio::test]
async fn answer_is_kept_beside_a_promoted_read_of_an_older_value() {
    let instances = Instances::new(Promotion::OneIn(2)).await;
    assert_eq!(instances.refresh_there(0).await, 2);
    let (held, bounded) = instances.hold(HeldAt::Answer, version(0)).await;
    assert_eq!(instances.refresh_there(0).await, 3);
    assert_eq!(instances.strong(0).await, 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2, "it began before");
    assert_eq!(instances.bounded(0).await, 3);
}

/// No number is taken between the begin of the strong call and that of the bounded one.
#[tokio::test]
async fn answer_is_kept_beside_a_bounded_read_that_began_during_the_strong_call() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there(1).await, 2);
    let (held_strong, strong) = instances.hold(HeldAt::ReadOptions, strong(1)).await;
    let (held, bounded) = instances.hold(HeldAt::Answer, version(1)).await;
    assert_eq!(instances.refresh_there(1).await, 3);
    held_strong.release();
    assert_eq!(strong.await.unwrap(), 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2);
    assert_eq!(instances.bounded(1).await, 3);
}

#[tokio::test]
async fn bounded_value_that_was_kept_during_the_strong_call_is_dropped() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there(2).await, 2);
    let (held, strong) = instances.hold(HeldAt::ReadOptions, strong(2)).await;
    // A number is taken, so that the bounded call has a larger one than the strong call.
    instances.strong(3).await;
    assert_eq!(instances.bounded(2).await, 2);
    assert_eq!(instances.refresh_there(2).await, 3);
    held.release();
    assert_eq!(strong.await.unwrap(), 3);
    assert_eq!(instances.bounded(2).await, 3);
}

/// The call that began first reads last.
#[tokio::test]
async fn older_answer_of_a_strong_call_does_not_replace_a_newer_one() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there(4).await, 2);
    let (held_first, first) = instances.hold(HeldAt::ReadOptions, strong(4)).await;
    let (held_second, second) = instances.hold(HeldAt::Answer, strong(4)).await;
    assert_eq!(instances.refresh_there(4).await, 3);
    held_first.release();
    assert_eq!(first.await.unwrap(), 3);
    held_second.release();
    assert_eq!(second.await.unwrap(), 2, "it was read before");
    assert_eq!(instances.bounded(4).await, 3);
}

/// While the instance is not coherent, memory does not answer.
#[tokio::test]
async fn flight_from_before_the_strong_answer_is_not_joined_after_it() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there(5).await, 2);
    let (held, bounded) = instances.hold(HeldAt::Answer, version(5)).await;
    assert_eq!(instances.refresh_there(5).await, 3);
    assert_eq!(instances.strong(5).await, 3);
    instances.fake_tier.revoke();
    let limit = Duration::from_secs(5);
    let later = tokio::time::timeout(limit, instances.bounded(5)).await;
    assert_eq!(later.expect("it reads by itself"), 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2);
}

#[tokio::test]
async fn refresh_replaces_the_answer_of_a_strong_call_that_read_before_its_fill() {
    let fake_tier = FakeTier::shared(Duration::from_secs(3600));
    let instances = Instances::on(fake_tier.clone(), Promotion::Always).await;
    assert_eq!(instances.refresh_there(6).await, 2);
    fake_tier.hold_fills();
    change(6);
    let here = instances.here.clone();
    let refreshing = tokio::spawn(CacheRuntime::scope(here, refresh(6)));
    until("the fill is held", || fake_tier.has_held_fill()).await;
    assert_eq!(
        instances.strong(6).await,
        2,
        "the record is not replaced yet"
    );
    fake_tier.let_a_fill_through();
    assert_eq!(refreshing.await.unwrap(), 3);
    assert_eq!(instances.bounded(6).await, 3);
}

/// What a strong call loads and does not keep is newer than what memory has.
#[tokio::test]
async fn strong_answer_that_is_not_kept_drops_the_older_value() {
    static VALUE: AtomicU64 = AtomicU64::new(2);

    #[multi_tier_cached(ttl = "1h", cache_if = |value| value % 2 == 0)]
    async fn even() -> u64 {
        VALUE.load(Ordering::SeqCst)
    }

    let instances = Instances::new(Promotion::Always).await;
    let call = || CacheRuntime::scope(instances.here.clone(), even());
    assert_eq!(call().await, 2);
    // Another instance invalidates, and the message has not arrived here.
    instances.fake_tier.empty();
    VALUE.store(3, Ordering::SeqCst);
    assert_eq!(call().await, 2);
    let strong = async { even::entry().strong().await };
    assert_eq!(CacheRuntime::scope(instances.here.clone(), strong).await, 3);
    assert_eq!(call().await, 3);
}

/// Bodies that wait until the test lets them go on.
struct Gate {
    entered: AtomicU64,
    permits: Semaphore,
}

impl Gate {
    const fn new() -> Self {
        Self {
            entered: AtomicU64::new(0),
            permits: Semaphore::const_new(0),
        }
    }

    async fn pass(&self) {
        self.entered.fetch_add(1, Ordering::SeqCst);
        self.permits.acquire().await.unwrap().forget();
    }

    async fn until_entered(&self, number: u64) {
        until("a body runs", || {
            self.entered.load(Ordering::SeqCst) == number
        })
        .await;
    }
}

/// Two instances with these tiers above and below a shared one.
async fn two(tiers: impl Fn() -> RuntimeBuilder) -> (CacheRuntime, CacheRuntime) {
    let instance = async || tiers().build().await.unwrap();
    (instance().await, instance().await)
}

#[tokio::test]
async fn flight_from_before_the_answer_is_not_joined_where_there_is_no_memory() {
    let fake_tier = FakeTier::shared(Duration::from_secs(3600));
    fake_tier.prove();
    let (here, there) =
        two(|| CacheRuntime::builder().tier(fake_tier.clone(), TierConfig::as_l2())).await;
    let instances = Instances {
        fake_tier,
        here,
        there,
    };
    assert_eq!(instances.refresh_there(7).await, 2);
    let (held, first) = instances.hold(HeldAt::Answer, version(7)).await;
    assert_eq!(instances.refresh_there(7).await, 3);
    assert_eq!(instances.strong(7).await, 3);
    let limit = Duration::from_secs(5);
    let later = tokio::time::timeout(limit, instances.bounded(7)).await;
    assert_eq!(later.expect("it reads by itself"), 3);
    held.release();
    assert_eq!(first.await.unwrap(), 2);
}

#[tokio::test]
async fn record_of_a_private_tier_that_the_strong_call_passed_is_not_read_after_it() {
    for (key, has_memory, promotion) in [
        (8, false, Promotion::Never),
        (9, false, Promotion::Always),
        (10, true, Promotion::Never),
    ] {
        let fake_tier = FakeTier::shared(Duration::from_secs(3600));
        fake_tier.prove();
        let tiers = || {
            let builder = match has_memory {
                true => CacheRuntime::builder().l1(Memory::builder()),
                false => CacheRuntime::builder(),
            };
            builder
                .tier(FakeTier::new(), TierConfig::as_l2())
                .tier(fake_tier.clone(), TierConfig::as_l3().promotion(promotion))
        };
        let (here, there) = two(tiers).await;
        let instances = Instances {
            fake_tier: fake_tier.clone(),
            here,
            there,
        };
        assert_eq!(instances.bounded(key).await, 1);
        assert_eq!(instances.refresh_there(key).await, 2);
        assert_eq!(instances.strong(key).await, 2);
        for _ in 0..20 {
            assert_eq!(instances.bounded(key).await, 2, "{promotion:?}");
        }
    }
}

#[tokio::test]
async fn flight_of_an_older_strong_load_is_not_joined_after_the_answer() {
    static GATE: Gate = Gate::new();

    #[multi_tier_cached(ttl = "1h")]
    async fn gated(key: usize) -> u64 {
        let version = VERSIONS.lock().unwrap()[key];
        if version == 1 {
            GATE.pass().await;
        }
        version
    }

    let fake_tier = FakeTier::shared(Duration::from_secs(3600));
    fake_tier.prove();
    let (here, there) =
        two(|| CacheRuntime::builder().tier(fake_tier.clone(), TierConfig::as_l2())).await;
    let on = |runtime: &CacheRuntime, call| CacheRuntime::scope(runtime.clone(), call);
    let strong = || async { gated::entry(11).strong().await };
    let first = tokio::spawn(on(&here, strong()));
    GATE.until_entered(1).await;
    change(11);
    let refreshed = CacheRuntime::scope(there, async { gated::entry(11).refresh().await });
    assert_eq!(refreshed.await, 2);
    assert_eq!(on(&here, strong()).await, 2);
    let later = CacheRuntime::scope(here.clone(), gated(11));
    let later = tokio::time::timeout(Duration::from_secs(5), later).await;
    assert_eq!(later.expect("it reads by itself"), 2);
    GATE.permits.add_permits(1);
    assert_eq!(first.await.unwrap(), 1);
}

/// The waiter loads as any call does, so a strong answer outdates its flight.
#[tokio::test]
async fn flight_of_a_waiter_that_took_over_a_dropped_refresh_is_not_joined_after_the_answer() {
    static GATE: Gate = Gate::new();
    static CALLS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h")]
    async fn gated(key: usize) -> u64 {
        let version = VERSIONS.lock().unwrap()[key];
        if CALLS.fetch_add(1, Ordering::SeqCst) == 1 {
            GATE.pass().await;
        }
        version
    }

    let instances = Instances::new(Promotion::Always).await;
    let (here, there) = (instances.here.clone(), instances.there.clone());
    let refresh = |runtime: &CacheRuntime| {
        CacheRuntime::scope(runtime.clone(), async { gated::entry(12).refresh().await })
    };
    change(12);
    assert_eq!(refresh(&there).await, 2);
    let refreshing = tokio::spawn(refresh(&here));
    GATE.until_entered(1).await;
    let held = instances.fake_tier.hold_read(HeldAt::Answer);
    let mut waiter = Box::pin(CacheRuntime::scope(here.clone(), gated(12)));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    let waiter = tokio::spawn(waiter);
    refreshing.abort();
    until("the waiter reads", || held.is_reached()).await;
    change(12);
    assert_eq!(refresh(&there).await, 3);
    let strong = async { gated::entry(12).strong().await };
    assert_eq!(CacheRuntime::scope(here.clone(), strong).await, 3);
    instances.fake_tier.revoke();
    let later = CacheRuntime::scope(here, gated(12));
    let later = tokio::time::timeout(Duration::from_secs(5), later).await;
    assert_eq!(later.expect("it reads by itself"), 3);
    held.release();
    assert_eq!(waiter.await.unwrap(), 2);
}

/// A strong call has read the record that the refresh replaces, and memory keeps that until the fill has ended.
#[tokio::test]
async fn refresh_whose_value_memory_does_not_take_answers_its_waiters_after_its_fill() {
    static GATE: Gate = Gate::new();

    #[multi_tier_cached(ttl = "1h")]
    async fn gated(key: usize) -> u64 {
        let version = VERSIONS.lock().unwrap()[key];
        if version == 3 {
            GATE.pass().await;
        }
        version
    }

    for (key, is_dropped) in [(13, false), (14, true)] {
        let instances = Instances::new(Promotion::Always).await;
        let (here, there) = (instances.here.clone(), instances.there.clone());
        let refresh = |runtime: &CacheRuntime| {
            let refresh = async move { gated::entry(key).refresh().await };
            CacheRuntime::scope(runtime.clone(), refresh)
        };
        change(key);
        assert_eq!(refresh(&there).await, 2);
        change(key);
        let before = GATE.entered.load(Ordering::SeqCst);
        let refreshing = tokio::spawn(refresh(&here));
        GATE.until_entered(before + 1).await;
        let mut waiter = Box::pin(CacheRuntime::scope(here.clone(), gated(key)));
        assert!(poll_until(&mut waiter, 1).await.is_pending());
        let strong = async move { gated::entry(key).strong().await };
        assert_eq!(CacheRuntime::scope(here.clone(), strong).await, 2);
        instances.fake_tier.hold_fills();
        GATE.permits.add_permits(1);
        until("the fill is held", || instances.fake_tier.has_held_fill()).await;
        if is_dropped {
            refreshing.abort();
            assert!(refreshing.await.unwrap_err().is_cancelled());
            GATE.permits.add_permits(1);
        } else {
            instances.fake_tier.let_a_fill_through();
            assert_eq!(refreshing.await.unwrap(), 3);
        }
        let waited = tokio::spawn(waiter);
        until("the waiter has a value", || {
            instances.fake_tier.let_a_fill_through();
            waited.is_finished()
        })
        .await;
        let waited = waited.await.unwrap();
        let later = CacheRuntime::scope(here, gated(key)).await;
        assert!(waited <= later, "{waited}, then {later}");
    }
}

/// Both found the same record, in a tier that is not the highest.
#[tokio::test]
async fn overlapping_strong_calls_leave_memory_the_value() {
    let [above, fake_tier] = [(); 2].map(|()| FakeTier::shared(Duration::from_secs(3600)));
    above.prove();
    fake_tier.prove();
    let tiers = || {
        let below = TierConfig::as_l3().promotion(Promotion::Never);
        CacheRuntime::builder()
            .l1(Memory::builder())
            .tier(above.clone(), TierConfig::as_l2())
            .tier(fake_tier.clone(), below)
    };
    let (here, there) = two(tiers).await;
    let instances = Instances {
        fake_tier: fake_tier.clone(),
        here,
        there,
    };
    instances.bounded(15).await;
    above.empty();
    let hits = || {
        let functions = instances.here.stats().functions;
        let version = functions.iter().find(|one| one.name.ends_with("version"));
        version.unwrap().tier(Level::L1).unwrap().hits
    };
    let (held, first) = instances.hold(HeldAt::ReadOptions, strong(15)).await;
    instances.strong(15).await;
    held.release();
    first.await.unwrap();
    let before = hits();
    instances.bounded(15).await;
    assert_eq!(hits(), before + 1);
}
