//! Drops that reach several tiers, of which one panics.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Waker};
use std::time::Duration;

use super::*;
use crate::tier::kit::{PrivateTier, RecordStore};
use crate::tier::{
    FillResult, GuardHeld, Lease, LeaseMode, LeaseResult, ReadOptions, ReadResult, RecordKey,
    Target, Tier, TierBuilder, TierContext, TierFuture, TierSettings,
};
use crate::{CacheRuntime, Function, Level, Memory, TierConfig};

const LIMIT: Duration = Duration::from_secs(10);

/// A store without records.
#[derive(Debug)]
struct Empty;

impl RecordStore for Empty {
    async fn get(&self, _: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(None)
    }

    async fn put(&self, _: &str, _: Vec<u8>, _: Duration) -> Result<(), Error> {
        Ok(())
    }

    async fn delete(&self, _: &str) -> Result<(), Error> {
        Ok(())
    }

    async fn clear(&self) -> Result<(), Error> {
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    None,
    /// Invalidations never end.
    Hangs,
    /// Everything that happens in a drop panics.
    PanicsInDrop,
}

/// A tier with a fault, which counts the invalidations that nothing waits for.
#[derive(Clone, Debug)]
struct TestTier {
    tier: Arc<PrivateTier<Empty>>,
    fault: Fault,
    later: Arc<AtomicUsize>,
}

impl TestTier {
    fn new(fault: Fault) -> Self {
        Self {
            tier: Arc::new(PrivateTier::new(TierSettings::new("test", LIMIT), Empty)),
            fault,
            later: Arc::default(),
        }
    }

    fn drop_something(&self) {
        self.later.fetch_add(1, Ordering::SeqCst);
        assert_ne!(self.fault, Fault::PanicsInDrop, "the fault of the tier");
    }
}

impl TierBuilder for TestTier {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        Ok(Arc::new(*self))
    }
}

impl Tier for TestTier {
    fn settings(&self) -> &TierSettings {
        self.tier.settings()
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        self.tier.read(key, options, within)
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        self.tier.lease(key, mode, expected_header, within)
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        self.tier.fill(key, lease, record, life, within)
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        match self.fault {
            Fault::Hangs => Box::pin(std::future::pending()),
            _ => self.tier.invalidate(target, within),
        }
    }

    fn invalidate_later(&self, _: Target<'_>) {
        self.drop_something();
    }

    fn guard<'a>(&'a self, _: &'a RecordKey, _: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async { Ok(Guard::new(TestGuard(self.clone()))) })
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        self.tier.shutdown()
    }
}

struct TestGuard(TestTier);

impl GuardHeld for TestGuard {
    fn was_invalidated(&mut self) {}
}

impl Drop for TestGuard {
    fn drop(&mut self) {
        self.0.drop_something();
    }
}

/// Builds a runtime with memory and a tier for each fault, and returns the tiers as well.
async fn runtime(faults: [Fault; 3]) -> (CacheRuntime, [TestTier; 3]) {
    let tiers = faults.map(TestTier::new);
    let mut builder = CacheRuntime::builder().l1(Memory::builder());
    for (tier, level) in tiers.iter().zip([Level::L2, Level::L3, Level::L4]) {
        builder = builder.tier(tier.clone(), TierConfig::new(level));
    }
    let runtime = builder.build().await.expect("the runtime is built");
    (runtime, tiers)
}

fn function(name: &'static str) -> Function<u64> {
    let builder = Function::builder(name).ttl(LIMIT);
    builder.build().expect("the function is built")
}

fn later(tiers: &[TestTier; 3]) -> [usize; 3] {
    tiers
        .each_ref()
        .map(|tier| tier.later.load(Ordering::SeqCst))
}

/// Polls once and drops the future. Returns `true` if the drop panicked.
fn drop_after_one_poll(future: impl Future) -> bool {
    let mut future = Box::pin(future);
    let mut context = Context::from_waker(Waker::noop());
    assert!(future.as_mut().poll(&mut context).is_pending());
    catch_unwind(AssertUnwindSafe(|| drop(future))).is_err()
}

#[tokio::test]
async fn fence_is_raised_and_every_guard_ends_if_the_drop_of_one_guard_panics() {
    let (runtime, tiers) = runtime([Fault::None, Fault::PanicsInDrop, Fault::PanicsInDrop]).await;
    let function = function("write_guard::read");
    let entry = function.entry((1,));
    let guard = CacheRuntime::scope(runtime, entry.write_guard());
    let guard = guard.await.expect("the guard is taken");
    let function = Arc::clone(&guard.function);
    let began = function.state.fences.now();
    let dropped = catch_unwind(AssertUnwindSafe(|| drop(guard)));
    dropped.expect_err("the panic of the tier continues");
    assert!(
        function.state.fences.now() > began,
        "the fence was not raised"
    );
    assert_eq!(later(&tiers), [1, 1, 1]);
}

#[tokio::test]
async fn dropped_invalidation_reaches_every_tier_if_one_panics() {
    let (runtime, tiers) = runtime([Fault::None, Fault::PanicsInDrop, Fault::Hangs]).await;
    let function = function("write_guard::invalidated");
    let invalidation = CacheRuntime::scope(runtime.clone(), async {
        function.entry((1,)).invalidate().await
    });
    assert!(drop_after_one_poll(invalidation));
    assert_eq!(later(&tiers), [1, 1, 0]);
    assert!(drop_after_one_poll(runtime.invalidate_all()));
    assert_eq!(later(&tiers), [2, 2, 0]);
}
