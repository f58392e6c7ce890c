//! A tier whose clock a test advances: the age of records in any store is under control.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::tier::kit::lock;
use multi_tier_cached::tier::{
    Breaker, Expiry, FillResult, FunctionKey, Glob, Guard, Health, Inspection, Lease, LeaseMode,
    LeaseResult, Ledger, ReadOptions, ReadResult, Receipt, RecordKey, SharedTier, Target, Tier,
    TierBuilder, TierContext, TierFuture, TierSettings,
};
use multi_tier_cached::{Error, ManualClock, unix_millis};
use tokio::sync::OnceCell;

/// The time of runtimes and of the tiers below them. It passes only when the test advances it.
///
/// Clones share one time.
#[derive(Clone, Debug)]
pub struct TestClock {
    /// The clock of the runtimes, by which they judge what memory has.
    runtimes: ManualClock,
    /// Milliseconds since the Unix epoch by the clock of the tiers, by which records are stamped
    /// and judged.
    tiers: Arc<AtomicU64>,
    /// When the last lease of a key was granted, by the clock of the tiers.
    granted: Arc<Mutex<HashMap<String, u64>>>,
}

impl TestClock {
    /// Creates a clock that stands at the current time.
    #[must_use]
    pub fn new() -> Self {
        Self {
            runtimes: ManualClock::new(),
            tiers: Arc::new(AtomicU64::new(unix_millis())),
            granted: Arc::default(),
        }
    }

    /// Advances the time of the runtimes and of the tiers, which is in whole milliseconds.
    pub fn advance(&self, by: Duration) {
        self.runtimes.advance(by);
        let millis = u64::try_from(by.as_millis()).expect("a time that a test can pass");
        self.tiers.fetch_add(millis, Ordering::SeqCst);
    }

    fn of_tiers(&self) -> u64 {
        self.tiers.load(Ordering::SeqCst)
    }

    /// Notes that a lease of this key is granted now.
    fn note_granted(&self, key: &str) {
        lock(&self.granted).insert(key.to_owned(), self.of_tiers());
    }

    /// Returns how much time has passed since the last lease of this key was granted.
    fn passed_since_granted(&self, key: &str) -> Duration {
        let granted = lock(&self.granted).get(key).copied();
        let now = self.of_tiers();
        Duration::from_millis(now - granted.unwrap_or(now))
    }

    /// The clock for [`RuntimeBuilder::clock`](multi_tier_cached::RuntimeBuilder::clock).
    #[must_use]
    pub fn of_runtimes(&self) -> &ManualClock {
        &self.runtimes
    }
}

impl Default for TestClock {
    fn default() -> Self {
        Self::new()
    }
}

/// A tier that does what the one inside does, and whose time is a [`TestClock`].
///
/// Clones are the same tier: the first runtime that is built with one of them builds the tier
/// inside, and the last one that is shut down shuts it down. So several runtimes can have the
/// records of a private store. For a shared store each runtime has a tier of its own.
///
/// The store inside has its own clock. It drops a record when the life has passed that the record
/// was filled with, in real time, which is longer than a test. The back-off of a key, which is in
/// real time too, is shortened by the time that the test has passed since the load began that
/// failed: no test advances the clock while such a load runs.
#[derive(Clone, Debug)]
pub struct ClockedTier {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    clock: TestClock,
    made: Mutex<Made>,
    started: OnceCell<()>,
    /// The number of runtimes that were built with this tier and not shut down.
    users: AtomicUsize,
    fills: Mutex<Vec<Duration>>,
}

/// The lock around it is held while a tier is built, which does not wait for anything.
#[derive(Debug)]
enum Made {
    Not(Option<Box<dyn TierBuilder>>),
    Tier(Arc<dyn Tier>),
}

impl ClockedTier {
    /// Wraps the tier that `builder` builds.
    pub fn new(builder: impl TierBuilder + 'static, clock: &TestClock) -> Self {
        Self {
            inner: Arc::new(Inner {
                clock: clock.clone(),
                made: Mutex::new(Made::Not(Some(Box::new(builder)))),
                started: OnceCell::new(),
                users: AtomicUsize::new(0),
                fills: Mutex::default(),
            }),
        }
    }

    /// Returns the lives of the records that the store has accepted, in the order in which it did.
    pub fn stored_lives(&self) -> Vec<Duration> {
        lock(&self.inner.fills).clone()
    }
}

impl TierBuilder for ClockedTier {
    fn store(&self) -> Option<String> {
        match &*lock(&self.inner.made) {
            Made::Not(Some(builder)) => builder.store(),
            Made::Not(None) | Made::Tier(_) => None,
        }
    }

    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        let inner = &self.inner;
        inner.users.fetch_add(1, Ordering::SeqCst);
        let mut made = lock(&inner.made);
        let tier = match &mut *made {
            Made::Tier(tier) => Arc::clone(tier),
            Made::Not(builder) => builder.take().expect("a builder").build(context)?,
        };
        *made = Made::Tier(Arc::clone(&tier));
        Ok(Arc::new(Clocked {
            tier,
            inner: Arc::clone(inner),
        }))
    }
}

/// The tier of one runtime.
#[derive(Debug)]
struct Clocked {
    tier: Arc<dyn Tier>,
    inner: Arc<Inner>,
}

impl Tier for Clocked {
    fn settings(&self) -> &TierSettings {
        self.tier.settings()
    }

    fn now(&self) -> u64 {
        self.inner.clock.of_tiers()
    }

    fn breaker(&self) -> Breaker {
        self.tier.breaker()
    }

    fn health(&self) -> Health {
        self.tier.health()
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        self.tier.as_shared()
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async {
            let started = self.inner.started.get_or_try_init(|| self.tier.start());
            started.await.copied()
        })
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
            let clock = &self.inner.clock;
            let lease = |mode| self.tier.lease(key, mode, expected_header, within);
            let mut leased = lease(mode).await?;
            if let LeaseResult::BackedOff(left) = leased {
                match left.checked_sub(clock.passed_since_granted(&key.name())) {
                    Some(left) if !left.is_zero() => return Ok(LeaseResult::BackedOff(left)),
                    // This mode is granted whatever the back-off.
                    _ => leased = lease(LeaseMode::Exclusive).await?,
                }
            }
            if let LeaseResult::Granted(_) = leased {
                clock.note_granted(&key.name());
            }
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
            let filled = self.tier.fill(key, lease, record, life, within).await?;
            if let FillResult::Stored = filled {
                lock(&self.inner.fills).push(life);
            }
            Ok(filled)
        })
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        self.tier.invalidate(target, within)
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.tier.invalidate_later(target);
    }

    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], within: Duration) -> TierFuture<'a, Receipt> {
        self.tier.invalidate_tags(tags, within)
    }

    fn invalidate_tags_later(&self, tags: &[u64]) {
        self.tier.invalidate_tags_later(tags);
    }

    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        self.tier.expire(target, within)
    }

    fn ledger(&self) -> Option<&dyn Ledger> {
        self.tier.ledger()
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
        match self.inner.users.fetch_sub(1, Ordering::SeqCst) {
            1 => self.tier.shutdown(),
            _ => Box::pin(async { Ok(()) }),
        }
    }

    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        Box::pin(async move {
            let mut seen = self.tier.inspect(key, within).await?;
            let passed = self.inner.clock.passed_since_granted(&key.name());
            let left = seen.back_off.and_then(|left| left.checked_sub(passed));
            seen.back_off = left.filter(|left| !left.is_zero());
            Ok(seen)
        })
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
