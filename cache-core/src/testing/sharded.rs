//! A store of several shards as one tier, as a runtime uses it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::clock::Clock;
use crate::coherence::Coherence;
use crate::error::Error;
use crate::glob::Glob;
use crate::join::join_all;
use crate::level::Level;
use crate::tier::shard::ShardCount;
use crate::tier::store::{Store, StoreShard};
use crate::tier::{
    Breaker, Expiry, FillResult, FunctionKey, Guard, Health, Inspection, Lease, LeaseMode,
    LeaseResult, Ledger, Marks, MarksState, Peers, ReadOptions, ReadResult, Receipt, RecordKey,
    Target, Tier, TierBuilder, TierContext, TierFuture, TierSettings,
};

/// A tier that was built, with the channels of its shards.
#[derive(Debug)]
pub(super) struct Built {
    pub(super) tier: Arc<dyn Tier>,
    pub(super) channels: Vec<Arc<Coherence>>,
    pub(super) shards: ShardCount,
}

/// Builds the tier of a store, or the tiers of all its shards.
pub(super) fn build(builder: Box<dyn TierBuilder>, peers: Peers) -> Result<Built, Error> {
    let context = TierContext::new(Level::L2, peers);
    let contexts = context.of_shards(builder.shards())?;
    let tiers = builder.build_shards(&contexts)?;
    let store = Store::new(tiers, Level::L2, Clock::System)?;
    let channels = store.shards().iter();
    let channels = channels
        .filter_map(StoreShard::coherence)
        .cloned()
        .collect();
    let shards = store.count();
    let tier: Arc<dyn Tier> = match store.shards() {
        [only] => Arc::clone(&only.tier),
        _ => Arc::new(Sharded(store)),
    };
    Ok(Built {
        tier,
        channels,
        shards,
    })
}

/// A store of several shards.
struct Sharded(Store);

impl Sharded {
    fn of(&self, key: &RecordKey) -> &dyn Tier {
        &*self.0.of(key.digest).tier
    }

    /// Changes all shards at the same time. Returns the worst receipt.
    async fn on_all<'a>(
        &'a self,
        change: impl Fn(&'a dyn Tier) -> TierFuture<'a, Receipt>,
    ) -> Result<Receipt, Error> {
        let receipts = join_all(self.all().map(|tier| change(&**tier))).await;
        let receipts: Result<Vec<_>, Error> = receipts.into_iter().collect();
        Ok(receipts?.into_iter().max().unwrap_or(Receipt::Acked))
    }

    /// Returns the ledger of the shard with the key of a record.
    fn ledger_of(&self, marks: Marks<'_>) -> Option<&dyn Ledger> {
        self.0.of(marks.key).tier.ledger()
    }

    fn all(&self) -> impl Iterator<Item = &Arc<dyn Tier>> {
        self.0.shards().iter().map(|shard| &shard.tier)
    }
}

impl fmt::Debug for Sharded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Tier for Sharded {
    fn settings(&self) -> &TierSettings {
        self.0.settings()
    }

    fn now(&self) -> u64 {
        self.0.of(0).tier.now()
    }

    fn breaker(&self) -> Breaker {
        self.0.status(Level::L2).breaker
    }

    fn health(&self) -> Health {
        self.0.status(Level::L2).health
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(self.0.start())
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        self.of(key).read(key, options, within)
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        self.of(key).lease(key, mode, expected_header, within)
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult> {
        self.of(key).fill(key, lease, record, life, within)
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        if let Target::Key(key) = target {
            return self.of(key).invalidate(target, within);
        }
        Box::pin(self.on_all(move |tier| tier.invalidate(target, within)))
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.0.invalidate_later(target);
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(self.on_all(move |tier| tier.invalidate_tags(tags, within)))
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        self.0.invalidate_tags_later(tags);
    }

    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        if let Expiry::Key(key) = target {
            return self.of(key).expire(target, within);
        }
        Box::pin(self.on_all(move |tier| tier.expire(target, within)))
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.all()
            .all(|tier| tier.ledger().is_some())
            .then_some(self)
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.of(key).is_pending(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        self.of(key).guard(key, within)
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(self.0.settle(None, None))
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(self.0.shutdown(None))
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        self.of(key).inspect(key, within)
    }

    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async move {
            let pings = join_all(self.all().map(|tier| tier.ping(within))).await;
            let pings: Result<Vec<_>, Error> = pings.into_iter().collect();
            Ok(pings?.into_iter().max().unwrap_or_default())
        })
    }

    fn instances<'a>(&'a self, name: &'a str, version: u32) -> TierFuture<'a, Vec<FunctionKey>> {
        Box::pin(async move {
            let (mut found, failed) = self.0.instances(None, name, version).await;
            found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
            found.dedup();
            failed.map_or(Ok(found), Err)
        })
    }

    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        Box::pin(async move {
            let matching = self
                .all()
                .map(|tier| tier.invalidate_matching(function, glob));
            let keys: Result<Vec<_>, Error> = join_all(matching).await.into_iter().collect();
            Ok(keys?.into_iter().sum())
        })
    }
}

impl Ledger for Sharded {
    fn enable(&self) {
        self.0.enable_ledger();
    }

    fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        self.ledger_of(marks)?.state(marks)
    }

    fn state_in_store<'a>(
        &'a self,
        marks: Marks<'a>,
        within: Duration,
    ) -> TierFuture<'a, MarksState> {
        match self.ledger_of(marks) {
            Some(ledger) => ledger.state_in_store(marks, within),
            None => Box::pin(async { Err(Error::configuration("the shard has no ledger")) }),
        }
    }

    fn is_pending(&self, tags: &[u64]) -> bool {
        let mut ledgers = self.all().filter_map(|tier| tier.ledger());
        ledgers.any(|ledger| ledger.is_pending(tags))
    }
}
