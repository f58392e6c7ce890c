//! After a strong call returned a value, no later call on the same instance answers an older one.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memory, Promotion, TierConfig, multi_tier_cached};
use tokio::task::JoinHandle;

use testbed::shelf::{HeldAt, HeldRead, Shelf};
use testbed::until;

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
    shelf: Shelf,
    here: CacheRuntime,
    there: CacheRuntime,
}

impl Instances {
    async fn new(promotion: Promotion) -> Self {
        Self::on(Shelf::shared(Duration::from_secs(3600)), promotion).await
    }

    async fn on(shelf: Shelf, promotion: Promotion) -> Self {
        shelf.prove();
        let instance = || async {
            let tiers = CacheRuntime::builder().l1(Memory::builder());
            let tiers = tiers.tier(shelf.clone(), TierConfig::as_l2().promotion(promotion));
            tiers.build().await.unwrap()
        };
        let (here, there) = (instance().await, instance().await);
        Self { shelf, here, there }
    }

    /// A call here, which runs until its read is held.
    async fn hold<F>(&self, at: HeldAt, call: F) -> (Arc<HeldRead>, JoinHandle<u64>)
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let held = self.shelf.hold_read(at);
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
    let (held_strong, strong) = instances.hold(HeldAt::Question, strong(1)).await;
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
    let (held, strong) = instances.hold(HeldAt::Question, strong(2)).await;
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
    let (held_first, first) = instances.hold(HeldAt::Question, strong(4)).await;
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
    instances.shelf.revoke();
    let limit = Duration::from_secs(5);
    let later = tokio::time::timeout(limit, instances.bounded(5)).await;
    assert_eq!(later.expect("it reads by itself"), 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2);
}

#[tokio::test]
async fn refresh_replaces_the_answer_of_a_strong_call_that_read_before_its_fill() {
    let shelf = Shelf::shared(Duration::from_secs(3600));
    let instances = Instances::on(shelf.clone(), Promotion::Always).await;
    assert_eq!(instances.refresh_there(6).await, 2);
    shelf.hold_fills();
    change(6);
    let here = instances.here.clone();
    let refreshing = tokio::spawn(CacheRuntime::scope(here, refresh(6)));
    until("the fill is held", || shelf.has_held_fill()).await;
    assert_eq!(
        instances.strong(6).await,
        2,
        "the record is not replaced yet"
    );
    shelf.let_a_fill_through();
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
    instances.shelf.empty();
    VALUE.store(3, Ordering::SeqCst);
    assert_eq!(call().await, 2);
    let strong = async { even::entry().strong().await };
    assert_eq!(CacheRuntime::scope(instances.here.clone(), strong).await, 3);
    assert_eq!(call().await, 3);
}
