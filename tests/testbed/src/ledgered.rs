//! A private tier that keeps a ledger: the tier inside, and a ledger in memory.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::Error;
use multi_tier_cached::tier::kit::LocalLedger;
use multi_tier_cached::tier::{
    Expiry, FillResult, FunctionKey, Glob, Guard, Inspection, Lease, LeaseMode, LeaseResult,
    Ledger, ReadOptions, ReadResult, Receipt, RecordKey, Target, Tier, TierBuilder, TierContext,
    TierFuture, TierSettings,
};

/// Builds the tier that `inner` builds, with a ledger.
#[derive(Debug)]
pub struct Ledgered<B>(pub B);

#[derive(Debug)]
struct LedgeredTier {
    tier: Arc<dyn Tier>,
    ledger: LocalLedger,
}

impl<B: TierBuilder> TierBuilder for Ledgered<B> {
    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        Ok(Arc::new(LedgeredTier {
            tier: Box::new(self.0).build(context)?,
            ledger: LocalLedger::default(),
        }))
    }
}

impl Tier for LedgeredTier {
    fn settings(&self) -> &TierSettings {
        self.tier.settings()
    }

    fn start(&self) -> TierFuture<'_, ()> {
        self.tier.start()
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
        Box::pin(async move {
            let lease = self.tier.lease(key, mode, expected_header, within);
            Ok(self.ledger.mark_lease(key, lease.await?))
        })
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
        self.tier.invalidate(target, within)
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.tier.invalidate_later(target);
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.ledger.invalidate_tags(tags);
            Ok(Receipt::Acked)
        })
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        self.ledger.invalidate_tags(tags);
    }

    /// Drops the record of a key, because its lease is to be void.
    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.ledger.expire(target);
            match target {
                Expiry::Key(key) => self.tier.invalidate(Target::Key(key), within).await,
                Expiry::Function(_) | Expiry::Tags(_) => Ok(Receipt::Acked),
            }
        })
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(&self.ledger)
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.tier.is_pending(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        self.tier.guard(key, within)
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        self.tier.settle()
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        self.tier.shutdown()
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        self.tier.inspect(key, within)
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        self.tier.ping(within)
    }

    fn instances<'a>(&'a self, name: &'a str, version: u32) -> TierFuture<'a, Vec<FunctionKey>> {
        self.tier.instances(name, version)
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        self.tier.invalidate_matching(function, glob)
    }
}
