//! A tier in memory that a test controls: it holds operations until the test lets them through, and
//! fails as the test says.

mod control;

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::tier::kit::{PrivateTier, RecordStore, lock};
use multi_tier_cached::tier::{
    Deadlock, Expiry, FillResult, HeldLease, Inspection, Lease, LeaseMode, LeaseResult, Ledger,
    ReadOptions, ReadResult, Receipt, RecordKey, Refusal, SharedTier, Target, Tier, TierBuilder,
    TierContext, TierFuture, TierSettings,
};
use multi_tier_cached::{Coherence, Error, ErrorKind};
use tokio::sync::Semaphore;

use crate::fake_ledger::FakeLedger;

/// More permits than a test takes: what has them is not held.
const UNHELD: usize = 1 << 20;

/// A tier that a test controls. Runtimes that are built with clones of it share its records.
#[derive(Clone, Debug)]
pub struct FakeTier {
    state: Arc<State>,
    settings: TierSettings,
}

/// The records, which never expire.
#[derive(Debug, Default)]
struct Records(Mutex<HashMap<String, Vec<u8>>>);

#[derive(Debug)]
struct State {
    /// The tier that does what the test lets through.
    tier: PrivateTier<Records>,
    /// `true` if the invalidation of every key is pending.
    is_pending: AtomicBool,
    /// One permit for each invalidation.
    gate: Semaphore,
    /// `true` if the reply to the next invalidation is held.
    keeps_back: AtomicBool,
    /// One permit for each held reply.
    replies: Semaphore,
    /// One permit for each fill.
    fills: Semaphore,
    /// `true` if a fill has waited for its permit.
    has_held_fill: AtomicBool,
    /// The state of the channel, if the tier is shared.
    coherence: Option<Arc<Coherence>>,
    /// How many of the next questions about a deadlock fail. `None` if the store cannot tell.
    lost_answers: Mutex<Option<usize>>,
    /// The number of questions about a deadlock.
    deadlock_questions: AtomicU64,
    /// How the next reads are held.
    held_reads: Mutex<VecDeque<Arc<HeldRead>>>,
    /// `true` if reads and leases fail.
    is_broken: AtomicBool,
    /// `true` if reads return no stamp.
    is_mute: AtomicBool,
    /// `true` if fills fail.
    is_full: AtomicBool,
    /// The ledger, if the tier keeps one.
    ledger: Option<FakeLedger>,
    /// The number of invalidations and expiries of tags that were let through.
    tag_changes: AtomicU64,
}

/// Where a read is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldAt {
    /// Before it looks at the records.
    Request,
    /// With the record that it found.
    Answer,
}

/// A read that is held until it is released.
#[derive(Debug)]
pub struct HeldRead {
    at: HeldAt,
    is_reached: AtomicBool,
    gate: Semaphore,
}

impl HeldRead {
    /// Returns `true` once a read is held.
    pub fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::SeqCst)
    }

    /// Lets the read continue.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    async fn hold(&self) {
        self.is_reached.store(true, Ordering::SeqCst);
        take(&self.gate).await;
    }
}

async fn take(permits: &Semaphore) {
    permits.acquire().await.expect("an open gate").forget();
}

impl RecordStore for Records {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.0).get(key).cloned())
    }

    async fn put(&self, key: &str, record: Vec<u8>, _: Duration) -> Result<(), Error> {
        lock(&self.0).insert(key.to_owned(), record);
        Ok(())
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        lock(&self.0).remove(key);
        Ok(())
    }

    /// Keeps the records, so that a test sees that void ones are not returned.
    async fn clear(&self) -> Result<(), Error> {
        Ok(())
    }
}

impl Default for FakeTier {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeTier {
    /// Creates a private tier that holds invalidations, and lets everything else through.
    pub fn new() -> Self {
        Self::of(None, None)
    }

    /// Creates a private tier that keeps a ledger.
    pub fn with_ledger() -> Self {
        Self::of(None, Some(FakeLedger::default()))
    }

    /// Creates a tier that also holds fills.
    pub fn that_holds_fills() -> Self {
        let this = Self::new();
        this.hold_fills();
        this
    }

    /// Creates a shared tier. The test [proves](Self::prove) that its channel is coherent, and
    /// [revokes](Self::revoke) that.
    pub fn shared(bound: Duration) -> Self {
        Self::of(Some(Arc::new(Coherence::new(bound))), None)
    }

    /// Creates a shared tier that keeps a ledger.
    pub fn shared_with_ledger(bound: Duration) -> Self {
        let coherence = Arc::new(Coherence::new(bound));
        Self::of(Some(coherence), Some(FakeLedger::default()))
    }

    fn of(coherence: Option<Arc<Coherence>>, ledger: Option<FakeLedger>) -> Self {
        // The store never waits, so the inner tier needs no time limit, and no runtime for one.
        let inner = TierSettings::new("fake_tier", Duration::MAX).without_runtime();
        let state = State {
            tier: PrivateTier::new(inner, Records::default()),
            is_pending: AtomicBool::new(false),
            gate: Semaphore::new(0),
            keeps_back: AtomicBool::new(false),
            replies: Semaphore::new(0),
            fills: Semaphore::new(UNHELD),
            has_held_fill: AtomicBool::new(false),
            coherence,
            lost_answers: Mutex::default(),
            deadlock_questions: AtomicU64::new(0),
            held_reads: Mutex::default(),
            is_broken: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
            ledger,
            tag_changes: AtomicU64::new(0),
        };
        Self {
            state: Arc::new(state),
            settings: TierSettings::new("fake_tier", Duration::from_secs(5)),
        }
    }

    /// Sets the time limit, which the tier does not keep. Default: 5 s.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.settings.time_limit = time_limit;
        self
    }

    /// Sets the kind, which metrics and logs name. Default: `fake_tier`.
    #[must_use]
    pub fn kind(mut self, kind: &'static str) -> Self {
        self.settings.kind = kind;
        self
    }

    /// Lets plain functions use the tier.
    #[must_use]
    pub fn for_threads(mut self) -> Self {
        self.settings.works_without_runtime = true;
        self
    }
}

impl TierBuilder for FakeTier {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        Ok(Arc::new(*self))
    }
}

impl State {
    fn check(&self, is_failing: &AtomicBool, problem: &str) -> Result<(), Error> {
        match is_failing.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, problem)),
            false => Ok(()),
        }
    }
}

impl Tier for FakeTier {
    fn settings(&self) -> &TierSettings {
        &self.settings
    }

    /// Returns a constant, so that records do not expire.
    fn now(&self) -> u64 {
        0
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        self.state.coherence.is_some().then_some(self)
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult> {
        let held = lock(&self.state.held_reads).pop_front();
        Box::pin(async move {
            self.state.check(&self.state.is_broken, "read: broken")?;
            if let Some(held) = held.as_ref().filter(|held| held.at == HeldAt::Request) {
                held.hold().await;
            }
            let mut found = self.state.tier.read(key, options, within).await?;
            found.record = found.record.filter(|_| !self.is_pending(key));
            if let Some(held) = held.filter(|held| held.at == HeldAt::Answer) {
                // The record is from before the hold, and the stamp from after it.
                held.hold().await;
                found.stamp = self.state.tier.read(key, options, within).await?.stamp;
            }
            let is_mute = self.state.is_mute.load(Ordering::SeqCst);
            found.stamp = found.stamp.filter(|_| !is_mute);
            Ok(found)
        })
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(async move {
            self.state.check(&self.state.is_broken, "inspect: broken")?;
            let mut seen = self.state.tier.inspect(key, within).await?;
            seen.record = seen.record.filter(|_| !self.is_pending(key));
            let is_mute = self.state.is_mute.load(Ordering::SeqCst);
            seen.stamp = seen.stamp.filter(|_| !is_mute);
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
            self.state.check(&self.state.is_broken, "lease: broken")?;
            if self.is_pending(key) {
                return Ok(LeaseResult::Refused(Refusal::Queued));
            }
            let lease = self.state.tier.lease(key, mode, expected_header, within);
            let leased = lease.await?;
            Ok(match &self.state.ledger {
                Some(ledger) => ledger.mark_lease(key, leased),
                None => leased,
            })
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
            self.state.check(&self.state.is_full, "fill: full")?;
            let is_held = self.state.fills.available_permits() == 0;
            self.state.has_held_fill.fetch_or(is_held, Ordering::SeqCst);
            take(&self.state.fills).await;
            self.state.tier.fill(key, lease, record, life, within).await
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            take(&self.state.gate).await;
            let receipt = self.state.tier.invalidate(target, within).await?;
            if self.state.keeps_back.swap(false, Ordering::SeqCst) {
                take(&self.state.replies).await;
            }
            Ok(receipt)
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.state.tier.invalidate_later(target);
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            take(&self.state.gate).await;
            self.invalidate_tags_later(tags);
            if self.state.keeps_back.swap(false, Ordering::SeqCst) {
                take(&self.state.replies).await;
            }
            Ok(Receipt::Acked)
        })
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        self.state.tag_changes.fetch_add(1, Ordering::SeqCst);
        if let Some(ledger) = &self.state.ledger {
            ledger.ledger.invalidate_tags(tags);
        }
    }

    /// Without a ledger it invalidates.
    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            let Some(ledger) = &self.state.ledger else {
                return match target {
                    Expiry::Key(key) => self.invalidate(Target::Key(key), within).await,
                    Expiry::Function(function) => {
                        self.invalidate(Target::Function(function), within).await
                    }
                    Expiry::Tags(tags) => self.invalidate_tags(tags, within).await,
                };
            };
            take(&self.state.gate).await;
            if let Expiry::Key(key) = target {
                // Voids the leases, and keeps the record.
                let read = self.state.tier.read(key, ReadOptions::default(), within);
                let record = read.await?.record;
                self.state.tier.invalidate(Target::Key(key), within).await?;
                if let Some(record) = record {
                    lock(&self.state.tier.store().0).insert(key.name(), record);
                }
            }
            self.state.tag_changes.fetch_add(1, Ordering::SeqCst);
            ledger.ledger.expire(target);
            Ok(Receipt::Acked)
        })
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        let ledger = self.state.ledger.as_ref()?;
        Some(ledger)
    }

    fn is_pending(&self, _: &RecordKey) -> bool {
        self.state.is_pending.load(Ordering::SeqCst)
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        // The clones of the tier are still in use by other runtimes.
        Box::pin(async { Ok(()) })
    }
}

impl SharedTier for FakeTier {
    fn coherence(&self) -> &Arc<Coherence> {
        self.state.coherence.as_ref().expect("a shared fake tier")
    }

    fn link(&self) -> u64 {
        0
    }

    fn deadlock<'a>(
        &'a self,
        _: &'a [HeldLease],
        _: &'a RecordKey,
        _: Duration,
    ) -> TierFuture<'a, Deadlock> {
        self.state.deadlock_questions.fetch_add(1, Ordering::SeqCst);
        let answer = match &mut *lock(&self.state.lost_answers) {
            None => Ok(Deadlock::Unknown),
            Some(0) => Ok(Deadlock::Absent),
            Some(lost) => {
                *lost -= 1;
                Err(Error::new(
                    ErrorKind::TimedOut,
                    "deadlock: the answer is lost",
                ))
            }
        };
        Box::pin(std::future::ready(answer))
    }
}
