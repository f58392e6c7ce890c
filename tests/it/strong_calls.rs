//! After a strong call returned a value, no later call on the same instance returns an older one,
//! whichever reads, loads and fills overlap with it.

mod overtaken;
mod reads_outside_flights;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Level, Memory, Promotion, RuntimeBuilder, TierConfig, multi_tier_cached,
};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use testbed::counts::tier_stats;
use testbed::fake_tier::{FakeTier, HeldAt, HeldRead};
use testbed::{Gate, Instance, Truth, assert_tier, poll_until, until};

/// Time for a call that must not wait for anything.
const SOON: Duration = Duration::from_secs(5);

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

async fn strong(truth: &Truth, key: u64) -> u64 {
    read::entry(truth, key).strong().await
}

fn shared_tier() -> FakeTier {
    let fake_tier = FakeTier::shared(Duration::from_secs(3600));
    fake_tier.prove();
    fake_tier
}

/// Two instances that share a tier, whose reads the test can hold, and their source of truth.
struct Instances {
    fake_tier: FakeTier,
    here: Instance,
    there: Instance,
    truth: Arc<Truth>,
}

impl Instances {
    /// Creates instances with memory, and this promotion out of the shared tier.
    async fn new(promotion: Promotion) -> Self {
        let tiers = |fake_tier: FakeTier| {
            let config = TierConfig::as_l2().promotion(promotion);
            CacheRuntime::builder()
                .l1(Memory::builder())
                .tier(fake_tier, config)
        };
        Self::with_tiers(tiers).await
    }

    /// Creates instances with the shared tier only.
    async fn without_memory() -> Self {
        Self::with_tiers(|shared| CacheRuntime::builder().tier(shared, TierConfig::as_l2())).await
    }

    async fn with_tiers(tiers: impl Fn(FakeTier) -> RuntimeBuilder) -> Self {
        let fake_tier = shared_tier();
        Self {
            here: Instance::build(tiers(fake_tier.clone())).await,
            there: Instance::build(tiers(fake_tier.clone())).await,
            fake_tier,
            truth: Arc::default(),
        }
    }

    /// Begins `call` here as a task, and returns once its read of the shared tier is held.
    async fn hold<F>(&self, at: HeldAt, call: F) -> (Arc<HeldRead>, JoinHandle<u64>)
    where
        F: Future<Output = u64> + Send + 'static,
    {
        let held = self.fake_tier.hold_read(at);
        let call = self.here.spawn(call);
        until("the read is held", || held.is_reached()).await;
        (held, call)
    }

    async fn hold_bounded(&self, at: HeldAt) -> (Arc<HeldRead>, JoinHandle<u64>) {
        let truth = Arc::clone(&self.truth);
        self.hold(at, async move { read(&truth, 1).await }).await
    }

    async fn hold_strong(&self, at: HeldAt) -> (Arc<HeldRead>, JoinHandle<u64>) {
        let truth = Arc::clone(&self.truth);
        self.hold(at, async move { strong(&truth, 1).await }).await
    }

    async fn bounded(&self) -> u64 {
        self.here.call(read(&self.truth, 1)).await
    }

    async fn strong(&self) -> u64 {
        self.here.call(strong(&self.truth, 1)).await
    }

    /// Stores a newer value from the other instance. A refresh invalidates nothing, so no message
    /// tells memory here of it.
    async fn refresh_there(&self) -> u64 {
        self.truth.commit();
        let entry = read::entry(&self.truth, 1);
        self.there.call(entry.refresh()).await
    }

    /// Makes a bounded call that must not join a flight that is held.
    async fn bounded_without_joining(&self) -> u64 {
        let call = timeout(SOON, self.bounded()).await;
        call.expect("the call joined a flight from before the answer")
    }
}

/// The bounded read is promoted and the strong one is not.
#[tokio::test]
async fn strong_answer_is_kept_beside_a_promoted_read_of_an_older_value() {
    let instances = Instances::new(Promotion::OneIn(2)).await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held, bounded) = instances.hold_bounded(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    assert_eq!(instances.strong().await, 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2, "it read before the refresh");
    assert_eq!(instances.bounded().await, 3);
}

/// No fence number is taken between the start of the strong call and that of the bounded one.
#[tokio::test]
async fn strong_answer_is_kept_beside_a_bounded_read_that_began_during_the_strong_call() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held_strong, strong) = instances.hold_strong(HeldAt::Request).await;
    let (held, bounded) = instances.hold_bounded(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    held_strong.release();
    assert_eq!(strong.await.unwrap(), 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2);
    assert_eq!(instances.bounded().await, 3);
}

#[tokio::test]
async fn bounded_value_that_was_kept_during_the_strong_call_is_dropped() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held, strong_call) = instances.hold_strong(HeldAt::Request).await;
    // A call of another key takes a fence number, so that the bounded call has a larger one than
    // the strong call.
    instances.here.call(strong(&instances.truth, 2)).await;
    assert_eq!(instances.bounded().await, 2);
    assert_eq!(instances.refresh_there().await, 3);
    held.release();
    assert_eq!(strong_call.await.unwrap(), 3);
    assert_eq!(instances.bounded().await, 3);
}

/// The call that began first reads last.
#[tokio::test]
async fn older_answer_of_a_strong_call_does_not_replace_a_newer_one() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held_first, first) = instances.hold_strong(HeldAt::Request).await;
    let (held_second, second) = instances.hold_strong(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    held_first.release();
    assert_eq!(first.await.unwrap(), 3);
    held_second.release();
    assert_eq!(second.await.unwrap(), 2, "it read before the refresh");
    assert_eq!(instances.bounded().await, 3);
}

#[tokio::test]
async fn flight_from_before_the_strong_answer_is_not_joined_after_it() {
    let instances = Instances::new(Promotion::Always).await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held, bounded) = instances.hold_bounded(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    assert_eq!(instances.strong().await, 3);
    // Memory does not answer while the instance is not coherent.
    instances.fake_tier.revoke();
    assert_eq!(instances.bounded_without_joining().await, 3);
    held.release();
    assert_eq!(bounded.await.unwrap(), 2);
}

#[tokio::test]
async fn flight_from_before_the_strong_answer_is_not_joined_without_memory() {
    let instances = Instances::without_memory().await;
    assert_eq!(instances.refresh_there().await, 2);
    let (held, first) = instances.hold_bounded(HeldAt::Answer).await;
    assert_eq!(instances.refresh_there().await, 3);
    assert_eq!(instances.strong().await, 3);
    assert_eq!(instances.bounded_without_joining().await, 3);
    held.release();
    assert_eq!(first.await.unwrap(), 2);
}

#[tokio::test]
async fn refresh_replaces_the_answer_of_a_strong_call_that_read_before_its_fill() {
    let instances = Instances::new(Promotion::Always).await;
    let fake_tier = &instances.fake_tier;
    assert_eq!(instances.refresh_there().await, 2);
    fake_tier.hold_fills();
    let truth = Arc::clone(&instances.truth);
    truth.commit();
    let refresh = async move { read::entry(&truth, 1).refresh().await };
    let refreshing = instances.here.spawn(refresh);
    until("the fill is held", || fake_tier.has_held_fill()).await;
    let before = instances.strong().await;
    assert_eq!(before, 2, "the record is not replaced yet");
    fake_tier.let_a_fill_through();
    assert_eq!(refreshing.await.unwrap(), 3);
    assert_eq!(instances.bounded().await, 3);
}

/// The strong call loads a value that `cache_if` does not keep, and that is newer than the value in
/// memory.
#[tokio::test]
async fn strong_answer_that_is_not_kept_drops_the_older_value() {
    #[multi_tier_cached(ttl = "1h", cache_if = |value| value % 2 == 0, skip(truth))]
    async fn even(truth: &Truth) -> u64 {
        truth.read()
    }

    let instances = Instances::new(Promotion::Always).await;
    let truth = &*instances.truth;
    let call = async || instances.here.call(even(truth)).await;
    truth.commit();
    assert_eq!(call().await, 2);
    // Another instance invalidates, and the message has not arrived here.
    instances.fake_tier.empty();
    truth.commit();
    assert_eq!(call().await, 2);
    let strong = instances.here.call(even::entry(truth).strong()).await;
    assert_eq!(strong, 3);
    assert_eq!(call().await, 3);
}

#[tokio::test]
async fn record_of_a_private_tier_that_the_strong_call_passed_over_is_not_read_after_it() {
    for (has_memory, promotion) in [
        (false, Promotion::Never),
        (false, Promotion::Always),
        (true, Promotion::Never),
    ] {
        let tiers = |shared: FakeTier| {
            let builder = match has_memory {
                true => CacheRuntime::builder().l1(Memory::builder()),
                false => CacheRuntime::builder(),
            };
            builder
                .tier(FakeTier::new(), TierConfig::as_l2())
                .tier(shared, TierConfig::as_l3().promotion(promotion))
        };
        let instances = Instances::with_tiers(tiers).await;
        assert_eq!(instances.bounded().await, 1);
        assert_eq!(instances.refresh_there().await, 2);
        assert_eq!(instances.strong().await, 2);
        for _ in 0..20 {
            assert_eq!(instances.bounded().await, 2, "{has_memory}, {promotion:?}");
        }
    }
}

/// A source of truth whose loads of one version wait at a gate.
struct GatedTruth {
    truth: Truth,
    gate: Gate,
    gated_version: u64,
}

impl GatedTruth {
    fn new(gated_version: u64) -> Arc<Self> {
        Arc::new(Self {
            truth: Truth::new(),
            gate: Gate::new(),
            gated_version,
        })
    }
}

#[multi_tier_cached(ttl = "1h", skip(source))]
async fn gated(source: &GatedTruth, _key: u64) -> u64 {
    let version = source.truth.read();
    if version == source.gated_version {
        source.gate.pass().await;
    }
    version
}

async fn refresh_gated(source: Arc<GatedTruth>) -> u64 {
    gated::entry(&source, 1).refresh().await
}

async fn strong_gated(source: Arc<GatedTruth>) -> u64 {
    gated::entry(&source, 1).strong().await
}

#[tokio::test]
async fn flight_of_an_older_strong_load_is_not_joined_after_the_answer() {
    let instances = Instances::without_memory().await;
    let source = GatedTruth::new(1);
    let first = instances.here.spawn(strong_gated(Arc::clone(&source)));
    source.gate.until_entered(1).await;
    source.truth.commit();
    let refresh = refresh_gated(Arc::clone(&source));
    assert_eq!(instances.there.call(refresh).await, 2);
    let strong = strong_gated(Arc::clone(&source));
    assert_eq!(instances.here.call(strong).await, 2);
    let later = timeout(SOON, instances.here.call(gated(&source, 1))).await;
    assert_eq!(later.expect("the call joined the older load"), 2);
    source.gate.let_through(1);
    assert_eq!(first.await.unwrap(), 1);
}

/// The waiter of a refresh loads as any call does once the refresh is dropped, so a strong answer
/// outdates its flight.
#[tokio::test]
async fn flight_of_a_waiter_that_took_over_a_dropped_refresh_is_not_joined_after_the_answer() {
    let instances = Instances::new(Promotion::Always).await;
    let (here, there) = (&instances.here, &instances.there);
    // The refresh loads version 3.
    let source = GatedTruth::new(3);
    source.truth.commit();
    let refresh = refresh_gated(Arc::clone(&source));
    assert_eq!(there.call(refresh).await, 2);
    source.truth.commit();
    let refreshing = here.spawn(refresh_gated(Arc::clone(&source)));
    source.gate.until_entered(1).await;
    let held = instances.fake_tier.hold_read(HeldAt::Answer);
    let own = Arc::clone(&source);
    let call = async move { gated(&own, 1).await };
    let mut waiter = Box::pin(CacheRuntime::scope(here.runtime.clone(), call));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    let waiter = tokio::spawn(waiter);
    refreshing.abort();
    until("the waiter reads", || held.is_reached()).await;
    source.truth.commit();
    let refresh = refresh_gated(Arc::clone(&source));
    assert_eq!(there.call(refresh).await, 4);
    let strong = strong_gated(Arc::clone(&source));
    assert_eq!(here.call(strong).await, 4);
    instances.fake_tier.revoke();
    let later = timeout(SOON, here.call(gated(&source, 1))).await;
    assert_eq!(later.expect("the call joined the waiter's flight"), 4);
    held.release();
    assert_eq!(waiter.await.unwrap(), 2);
}

/// A strong call has read the record that the refresh replaces, and memory keeps that value until
/// the fill of the refresh has ended.
async fn refresh_beside_a_strong_call(is_dropped: bool) {
    let instances = Instances::new(Promotion::Always).await;
    let (fake_tier, here) = (&instances.fake_tier, &instances.here);
    let source = GatedTruth::new(3);
    source.truth.commit();
    let refresh = refresh_gated(Arc::clone(&source));
    assert_eq!(instances.there.call(refresh).await, 2);
    source.truth.commit();
    let refreshing = here.spawn(refresh_gated(Arc::clone(&source)));
    source.gate.until_entered(1).await;
    let own = Arc::clone(&source);
    let call = async move { gated(&own, 1).await };
    let mut waiter = Box::pin(CacheRuntime::scope(here.runtime.clone(), call));
    assert!(poll_until(&mut waiter, 1).await.is_pending());
    let strong = strong_gated(Arc::clone(&source));
    assert_eq!(here.call(strong).await, 2);
    fake_tier.hold_fills();
    source.gate.let_through(1);
    until("the fill is held", || fake_tier.has_held_fill()).await;
    if is_dropped {
        refreshing.abort();
        assert!(refreshing.await.unwrap_err().is_cancelled());
        source.gate.let_through(1);
    } else {
        fake_tier.let_a_fill_through();
        assert_eq!(refreshing.await.unwrap(), 3);
    }
    let waited = tokio::spawn(waiter);
    until("the waiter has a value", || {
        fake_tier.let_a_fill_through();
        waited.is_finished()
    })
    .await;
    let waited = waited.await.unwrap();
    let later = here.call(gated(&source, 1)).await;
    assert!(
        waited <= later,
        "the waiter got {waited}, a later call {later}"
    );
}

#[tokio::test]
async fn waiter_of_a_refresh_beside_a_strong_call_gets_no_newer_value_than_later_calls() {
    refresh_beside_a_strong_call(false).await;
}

#[tokio::test]
async fn waiter_of_a_dropped_refresh_beside_a_strong_call_gets_no_newer_value_than_later_calls() {
    refresh_beside_a_strong_call(true).await;
}

/// Both calls find the same record, in a tier that is not the highest.
#[tokio::test]
async fn overlapping_strong_calls_leave_the_value_in_memory() {
    let above = shared_tier();
    let tiers = |shared: FakeTier| {
        let below = TierConfig::as_l3().promotion(Promotion::Never);
        CacheRuntime::builder()
            .l1(Memory::builder())
            .tier(above.clone(), TierConfig::as_l2())
            .tier(shared, below)
    };
    let instances = Instances::with_tiers(tiers).await;
    instances.bounded().await;
    above.empty();
    let (held, first) = instances.hold_strong(HeldAt::Request).await;
    instances.strong().await;
    held.release();
    first.await.unwrap();
    let here = &instances.here;
    let before = tier_stats(here, "strong_calls::read", Level::L1)
        .unwrap()
        .hits;
    instances.bounded().await;
    assert_tier(
        here,
        "strong_calls::read",
        Level::L1,
        |tier| tier.hits,
        before + 1,
    )
    .await;
}
