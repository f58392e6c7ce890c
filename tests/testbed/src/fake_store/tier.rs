//! The tier of one shard for one instance.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use multi_tier_cached::tier::{
    AwaitedLease, Breaker, Deadlock, Expiry, FillResult, Guard, Health, HeldLease, Inspection,
    Lease, LeaseMode, LeaseResult, Ledger, Marks, MarksState, ReadOptions, ReadResult, Receipt,
    RecordKey, Refusal, ShardWaits, SharedTier, Target, Tier, TierFuture, TierSettings,
};
use multi_tier_cached::{Coherence, Error, ErrorKind};

use super::shard::{Link, Shard};

/// One shard as one instance uses it.
#[derive(Debug)]
pub(super) struct ShardTier {
    index: usize,
    shard: Arc<Shard>,
    link: Arc<Link>,
    settings: TierSettings,
}

impl ShardTier {
    pub(super) fn new(index: usize, shard: Arc<Shard>, link: Arc<Link>) -> Self {
        Self {
            index,
            shard,
            link,
            settings: TierSettings::new("fake_store", Duration::from_secs(5)),
        }
    }
}

impl Tier for ShardTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    /// Returns a constant, so that records do not expire.
    fn now(&self) -> u64 {
        0
    }

    fn breaker(&self) -> Breaker {
        match self.link.check() {
            Ok(()) => Breaker::Closed,
            Err(_) => Breaker::Open,
        }
    }

    fn health(&self) -> Health {
        let Link {
            counters,
            coherence,
            pending,
            ..
        } = &*self.link;
        let mut health = counters.health(self.link.check().is_ok(), coherence, pending.len());
        health.address = Some(format!("fake:{}", self.index));
        health
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        Some(self)
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            self.link.wait_for_all().await;
            if self.link.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "no server"));
            }
            self.link.is_running.store(true, Ordering::SeqCst);
            Ok(())
        })
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        Box::pin(async move {
            self.link.step().await;
            self.link.check()?;
            let mut found = self.shard.tier.read(key, options, within).await?;
            self.link.step().await;
            found.record = found.record.filter(|_| !Tier::is_pending(self, key));
            Ok(found)
        })
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(async move {
            self.link.check()?;
            let mut seen = self.shard.tier.inspect(key, within).await?;
            seen.record = seen.record.filter(|_| !Tier::is_pending(self, key));
            Ok(seen)
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(async move {
            self.link.step().await;
            self.link.check()?;
            if Tier::is_pending(self, key) {
                return Ok(LeaseResult::Refused(Refusal::Queued));
            }
            let lease = self.shard.tier.lease(key, mode, expected_header, within);
            let leased = match (lease.await?, mode) {
                (leased, LeaseMode::Shared | LeaseMode::Probe) => leased,
                (LeaseResult::Granted(lease), _) => {
                    LeaseResult::Granted(self.shard.waits.hold(key.name(), lease))
                }
                (leased, _) => leased,
            };
            let leased = self.shard.ledger.mark_lease(key, leased);
            self.link.step().await;
            Ok(leased)
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
        Box::pin(async move {
            self.link.step().await;
            self.link.check()?;
            let filled = self.shard.tier.fill(key, lease, record, life, within);
            let filled = filled.await?;
            self.link.step().await;
            if filled == FillResult::Stored {
                self.shard.waits.end(&key.name(), lease.token);
            }
            Ok(filled)
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.link.step().await;
            if let Target::Function(_) | Target::All = target {
                self.link.wait_for_all().await;
            }
            if self.link.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Protocol, "invalidate: refused"));
            }
            if self.link.check().is_err() {
                self.link.pending.queue(target);
                return Ok(Receipt::Queued);
            }
            self.shard.invalidate(&self.link, target).await;
            Ok(Receipt::Acked)
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.link.pending.queue(target);
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.link.step().await;
            self.link.wait_for_all().await;
            if self.link.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Protocol, "invalidate tags: refused"));
            }
            if self.link.check().is_err() {
                self.invalidate_tags_later(tags);
                return Ok(Receipt::Queued);
            }
            self.shard.invalidate_tags(&self.link, tags);
            self.link.step().await;
            Ok(Receipt::Acked)
        })
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        self.link.pending.add_tags(tags);
    }

    fn expire<'a>(&'a self, target: Expiry<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.link.step().await;
            if self.link.check().is_err() {
                match target {
                    Expiry::Key(key) => self.invalidate_later(Target::Key(key)),
                    Expiry::Function(function) => {
                        self.invalidate_later(Target::Function(function));
                    }
                    Expiry::Tags(tags) => self.invalidate_tags_later(tags),
                }
                return Ok(Receipt::Queued);
            }
            self.shard.expire(&self.link, target).await;
            self.link.step().await;
            Ok(Receipt::Acked)
        })
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        Some(self)
    }

    fn is_pending(&self, key: &RecordKey) -> bool {
        self.link.pending.covers(key)
    }

    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        Box::pin(async move {
            self.link.check()?;
            self.shard.tier.guard(key, within).await
        })
    }

    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(self.link.pending.wait_empty())
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        // Other instances still use the records.
        self.link.is_running.store(false, Ordering::SeqCst);
        self.link.is_lost.store(true, Ordering::SeqCst);
        Box::pin(async { Ok(()) })
    }

    fn ping(&self, _: Duration) -> TierFuture<'_, Duration> {
        Box::pin(async {
            self.link.wait_for_all().await;
            self.link.check()?;
            Ok(Duration::from_millis(self.index as u64))
        })
    }
}

impl Ledger for ShardTier {
    fn enable(&self) {}

    fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        let is_known = self.link.check().is_ok() && self.link.coherence.holds();
        is_known.then(|| self.shard.ledger.judge(marks))
    }

    fn state_in_store<'a>(&'a self, marks: Marks<'a>, _: Duration) -> TierFuture<'a, MarksState> {
        Box::pin(async move {
            self.link.step().await;
            self.link.check()?;
            Ok(self.shard.ledger.judge(marks))
        })
    }

    fn is_pending(&self, tags: &[u64]) -> bool {
        self.link.pending.covers_tags(tags)
    }
}

impl SharedTier for ShardTier {
    fn coherence(&self) -> &Arc<Coherence> {
        &self.link.coherence
    }

    fn link(&self) -> u64 {
        self.link.number.load(Ordering::SeqCst)
    }

    fn deadlock<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a RecordKey,
        _: Duration,
    ) -> TierFuture<'a, Deadlock> {
        Box::pin(async move {
            self.link.check()?;
            let waits = &self.shard.waits;
            Ok(waits.deadlock(held, awaited.name(), self.index as u8))
        })
    }

    fn shard_waits(&self) -> Option<&dyn ShardWaits> {
        let is_blind = self.shard.is_blind.load(Ordering::SeqCst);
        (!is_blind).then_some(self)
    }
}

impl ShardWaits for ShardTier {
    fn holder<'a>(&'a self, key: &'a RecordKey, _: Duration) -> TierFuture<'a, Option<u64>> {
        Box::pin(async move {
            self.link.check()?;
            Ok(self.shard.waits.holder(&key.name()))
        })
    }

    fn note_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        _: Duration,
    ) -> TierFuture<'a, ()> {
        Box::pin(async move {
            self.link.check()?;
            self.shard.waits.note(held, awaited);
            Ok(())
        })
    }

    fn forget_waits<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a AwaitedLease,
        _: Duration,
    ) -> TierFuture<'a, ()> {
        Box::pin(async move {
            self.link.check()?;
            self.shard.waits.forget(held, awaited);
            Ok(())
        })
    }

    fn waits_of<'a>(
        &'a self,
        leases: &'a [AwaitedLease],
        _: Duration,
    ) -> TierFuture<'a, Vec<AwaitedLease>> {
        Box::pin(async move {
            self.link.check()?;
            Ok(self.shard.waits.waits_of(leases))
        })
    }
}
