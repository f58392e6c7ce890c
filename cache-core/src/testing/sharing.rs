//! The suite for a store that several instances use.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::back_off::backs_off;
use super::{SOON, Store, key, sharded};
use crate::coherence::Coherence;
use crate::fence::{Fences, FunctionFence};
use crate::tier::shard::ShardCount;
use crate::tier::{FillResult, LeaseMode, LeaseResult, Peers, Target, TierBuilder};

/// An instance, with the fences that its tier raises for invalidations of the other one.
pub(super) struct Instance {
    pub(super) store: Store,
    channels: Vec<Arc<Coherence>>,
    pub(super) fences: Arc<Fences>,
    pub(super) shards: ShardCount,
}

impl Instance {
    pub(super) async fn open(builder: Box<dyn TierBuilder>) -> Self {
        let fences = Arc::new(Fences::new());
        let peers = Peers::new(Arc::clone(&fences));
        let built = sharded::build(builder, peers).expect("the tier is built");
        built.tier.start().await.expect("the tier starts");
        let this = Self {
            store: Store { tier: built.tier },
            channels: built.channels,
            fences,
            shards: built.shards,
        };
        this.is_coherent().await;
        this
    }

    async fn is_coherent(&self) {
        let channels = self.channels.len();
        assert_eq!(channels, self.shards.get(), "a shared tier has a channel");
        let holds = async {
            while !self.channels.iter().all(|coherence| coherence.holds()) {
                sleep(Duration::from_millis(2)).await;
            }
        };
        assert!(
            timeout(SOON, holds).await.is_ok(),
            "the channel does not become coherent"
        );
    }

    /// Waits until a load that began before `before` is stale, by the fences of a key and a
    /// function.
    async fn applies(&self, before: u64, digest: u64, function: &FunctionFence) {
        let applied = async {
            while self.fences.is_current(before, digest, function) {
                sleep(Duration::from_millis(1)).await;
            }
        };
        assert!(
            timeout(SOON, applied).await.is_ok(),
            "the invalidation does not arrive"
        );
    }
}

/// Checks that two instances of one store agree on leases, on back-offs, on records and on
/// invalidations, within the staleness bound. Both builders that `open` returns are for one store,
/// which is empty.
///
/// # Panics
/// With what the tier did not do.
pub async fn sharing(open: impl Fn() -> Box<dyn TierBuilder>) {
    let (here, there) = (Instance::open(open()).await, Instance::open(open()).await);
    let key = key("f", 1);

    // One instance loads. The other waits for it and reads the record.
    let lease = here.store.granted(&key, LeaseMode::Exclusive).await;
    let LeaseResult::Held(wakeup) = there.store.lease(&key, LeaseMode::Exclusive).await else {
        panic!("the lease is granted twice");
    };
    let filled = here.store.fill_under(&key, &lease, b"one").await;
    assert_eq!(filled, FillResult::Stored);
    assert!(
        timeout(SOON, wakeup).await.is_ok(),
        "the waiter is not woken"
    );
    let read = there.store.valid(&key, lease.stamp).await;
    assert_eq!(read.as_deref(), Some(&b"one"[..]));

    // A load of the one instance fails. The other does not begin one for a caller that has a value,
    // and a load that it begins nevertheless is counted together with the failed one.
    let failed = super::key("f", 2);
    if backs_off(&here.store, &failed, b"").await {
        let leased = there.store.lease(&failed, LeaseMode::Refresh).await;
        let is_backed_off = matches!(leased, LeaseResult::BackedOff(_));
        assert!(is_backed_off, "by one instance alone: {leased:?}");
        let lease = there.store.granted(&failed, LeaseMode::Exclusive).await;
        assert_eq!(lease.failures, 1);
    }

    // After an invalidation by the one, the other does not fill under older leases, and its records
    // are stale.
    let function = FunctionFence::sharded(0, there.shards);
    there.fences.share(key.function.digest, &function);
    for target in [
        Target::Key(&key),
        Target::Function(&key.function),
        Target::All,
    ] {
        let stamp = here.store.fill(&key, b"old").await;
        let late = there.store.granted(&key, LeaseMode::Preempt).await;
        let before = there.fences.now();
        here.store.invalidate(target).await;
        let filled = there.store.fill_under(&key, &late, b"late").await;
        assert!(
            matches!(filled, FillResult::Refused(_)),
            "{target:?}: the lease is from before the invalidation by the other instance"
        );
        there.applies(before, key.digest, &function).await;
        there.is_coherent().await;
        assert_eq!(there.store.valid(&key, stamp).await, None, "{target:?}");
    }

    // While the one guards the key, the other gets no lease.
    let guard = here.store.tier.guard(&key, SOON).await.expect("a guard");
    let leased = there.store.lease(&key, LeaseMode::Exclusive).await;
    assert!(matches!(leased, LeaseResult::Refused(_)), "{leased:?}");
    here.store.invalidate(Target::Key(&key)).await;
    guard.end();
    here.store.close().await;
    there.store.close().await;
}
