//! A tier in memory whose invalidations wait until they are let through: what a slow server does, held in hand.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use multi_tier_cached::tier::{
    Deadlock, FillResult, HEADER_LEN, HeldLease, Lease, LeaseMode, LeaseResult, LocalLeases,
    ReadOptions, ReadResult, Receipt, RecordKey, Refusal, SharedTier, Stamp, Target, Tier,
    TierBuilder, TierContext, TierFuture, TierSettings, Wakeup,
};
use multi_tier_cached::{Coherence, Error, ErrorKind};
use tokio::sync::Semaphore;

/// Shared by the runtimes that are built with clones of it.
#[derive(Clone, Debug)]
pub struct FakeTier(Arc<Contents>, TierSettings);

#[derive(Debug)]
struct Contents {
    records: Mutex<HashMap<String, Vec<u8>>>,
    epoch: AtomicU64,
    leases: Arc<LocalLeases>,
    /// Whether invalidations wait to be done, of every key.
    is_pending: AtomicBool,
    /// One permit for each invalidation.
    gate: Semaphore,
    /// Whether the answer to the next invalidation is kept back.
    keeps_back: AtomicBool,
    /// One permit for each answer that was kept back.
    answers: Semaphore,
    /// One permit for each fill.
    fills: Semaphore,
    /// Whether a fill has waited for its permit.
    has_held_fill: AtomicBool,
    /// What it knows of others, where it is one that they share.
    coherence: Option<Arc<Coherence>>,
    /// How many of the next questions about a deadlock fail. `None` if the store cannot tell.
    lost_answers: Mutex<Option<usize>>,
    /// How many questions about a deadlock were asked.
    deadlock_questions: AtomicU64,
    /// How the next reads are held.
    held_reads: Mutex<VecDeque<Arc<HeldRead>>>,
    /// Whether it cannot be asked.
    is_broken: AtomicBool,
    /// Whether it does not say what a valid record carries.
    is_mute: AtomicBool,
    /// Whether it cannot be filled.
    is_full: AtomicBool,
}

/// Where a read is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HeldAt {
    /// Before it looks at the records.
    ReadOptions,
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
    /// Whether a read is held.
    pub fn is_reached(&self) -> bool {
        self.is_reached.load(Ordering::SeqCst)
    }

    /// Lets the read go on.
    pub fn release(&self) {
        self.gate.add_permits(1);
    }

    async fn hold(&self) {
        self.is_reached.store(true, Ordering::SeqCst);
        self.gate.acquire().await.expect("an open gate").forget();
    }
}

impl Default for FakeTier {
    fn default() -> Self {
        Self::new()
    }
}

impl FakeTier {
    /// One that lets fills through.
    pub fn new() -> Self {
        let contents = Contents {
            records: Mutex::default(),
            epoch: AtomicU64::new(1),
            leases: Arc::default(),
            is_pending: AtomicBool::new(false),
            gate: Semaphore::new(0),
            keeps_back: AtomicBool::new(false),
            answers: Semaphore::new(0),
            fills: Semaphore::new(1 << 20),
            has_held_fill: AtomicBool::new(false),
            coherence: None,
            lost_answers: Mutex::default(),
            deadlock_questions: AtomicU64::new(0),
            held_reads: Mutex::default(),
            is_broken: AtomicBool::new(false),
            is_mute: AtomicBool::new(false),
            is_full: AtomicBool::new(false),
        };
        let settings = TierSettings::new("fake_tier", Duration::from_secs(5));
        Self(Arc::new(contents), settings)
    }

    /// One that lets no fill through before it is told to.
    pub fn that_holds_fills() -> Self {
        let this = Self::new();
        this.0.fills.forget_permits(1 << 20);
        this
    }

    /// With another time limit than five seconds, to which it does not keep.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.1.time_limit = time_limit;
        self
    }

    /// One that plain functions may use.
    #[must_use]
    pub fn for_threads(mut self) -> Self {
        self.1.works_without_runtime = true;
        self
    }

    /// How many records it has.
    pub fn len(&self) -> usize {
        self.0.records().len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Says of every key that its invalidation waits to be done.
    pub fn owe(&self) {
        self.0.is_pending.store(true, Ordering::SeqCst);
    }

    /// One that others share. What they invalidate it is [proved](Self::prove) to know, or does not know.
    pub fn shared(bound: Duration) -> Self {
        let Self(contents, settings) = Self::new();
        let contents = Arc::into_inner(contents).expect("nobody else has it yet");
        let contents = Contents {
            coherence: Some(Arc::new(Coherence::new(bound))),
            ..contents
        };
        Self(Arc::new(contents), settings)
    }

    /// Knows of now what others have invalidated.
    pub fn prove(&self) {
        let coherence = self.0.coherence.as_ref().expect("a shared fake_tier");
        coherence.proved(coherence.barrier());
    }

    /// Does not know it any more.
    pub fn revoke(&self) {
        self.0
            .coherence
            .as_ref()
            .expect("a shared fake_tier")
            .revoke();
    }

    /// Loses its records, as when another instance invalidates them.
    pub fn empty(&self) {
        self.0.records().clear();
    }

    /// Does not say any more, when it is read, what a valid record carries.
    pub fn say_no_stamp(&self) {
        self.0.is_mute.store(true, Ordering::SeqCst);
    }

    /// Answers no reads and gives no leases any more.
    pub fn break_down(&self) {
        self.0.is_broken.store(true, Ordering::SeqCst);
    }

    /// Says that there is no deadlock, whenever it is asked, but for the next `lost` answers.
    pub fn lose_answers_about_deadlocks(&self, lost: usize) {
        *self.0.lost_answers.lock().expect("lost answers") = Some(lost);
    }

    /// How often it was asked whether there is a deadlock.
    pub fn deadlock_questions(&self) -> u64 {
        self.0.deadlock_questions.load(Ordering::SeqCst)
    }

    /// Holds the next read that is not held yet.
    pub fn hold_read(&self, at: HeldAt) -> Arc<HeldRead> {
        let held = Arc::new(HeldRead {
            at,
            is_reached: AtomicBool::new(false),
            gate: Semaphore::new(0),
        });
        let mut held_reads = self.0.held_reads.lock().expect("held reads");
        held_reads.push_back(Arc::clone(&held));
        held
    }

    /// Takes no fills any more, and does not say why.
    pub fn fill_up(&self) {
        self.0.is_full.store(true, Ordering::SeqCst);
    }

    /// Lets no fill through from now on before it is told to.
    pub fn hold_fills(&self) {
        self.0.fills.forget_permits(1 << 20);
    }

    /// Whether a fill has come that is held.
    pub fn has_held_fill(&self) -> bool {
        self.0.has_held_fill.load(Ordering::SeqCst)
    }

    /// Lets one fill through.
    pub fn let_a_fill_through(&self) {
        self.0.fills.add_permits(1);
    }

    /// Keeps back the answer to the next invalidation, which is done.
    pub fn keep_back(&self) {
        self.0.keeps_back.store(true, Ordering::SeqCst);
    }

    /// Whether it has come to that.
    pub fn has_kept_back(&self) -> bool {
        !self.0.keeps_back.load(Ordering::SeqCst)
    }

    /// Gives that answer.
    pub fn answer(&self) {
        self.0.answers.add_permits(1);
    }

    /// Lets one invalidation through.
    pub fn let_through(&self) {
        self.0.gate.add_permits(1);
    }
}

impl TierBuilder for FakeTier {
    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        Ok(Arc::new(*self))
    }
}

impl Contents {
    fn stamp(&self) -> Stamp {
        Stamp {
            epoch: self.epoch.load(Ordering::SeqCst),
            history: 0,
        }
    }

    fn drop_what_is_meant(&self, target: Target<'_>) {
        let mut records = self.records();
        self.leases.void(target);
        match target {
            Target::Key(key) => {
                records.remove(&key.arguments);
            }
            // The epoch is that of the whole fake_tier.
            Target::Function(_) | Target::All => {
                self.epoch.fetch_add(1, Ordering::SeqCst);
            }
        }
    }

    fn records(&self) -> std::sync::MutexGuard<'_, HashMap<String, Vec<u8>>> {
        self.records
            .lock()
            .expect("no test panics with the records in hand")
    }
}

impl Tier for FakeTier {
    fn settings(&self) -> &TierSettings {
        &self.1
    }

    fn now(&self) -> u64 {
        0
    }

    fn as_shared(&self) -> Option<&dyn SharedTier> {
        self.0.coherence.is_some().then_some(self)
    }

    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        _: ReadOptions,
        _: Duration,
    ) -> TierFuture<'a, ReadResult> {
        let held = self.0.held_reads.lock().expect("held reads").pop_front();
        Box::pin(async move {
            if self.0.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "read: broken"));
            }
            if let Some(held) = held.as_ref().filter(|held| held.at == HeldAt::ReadOptions) {
                held.hold().await;
            }
            let record = self.0.records().get(&key.arguments).cloned();
            let record = record.filter(|_| !self.is_pending(key));
            if let Some(held) = held.filter(|held| held.at == HeldAt::Answer) {
                held.hold().await;
            }
            let is_mute = self.0.is_mute.load(Ordering::SeqCst);
            Ok(ReadResult::new(record, (!is_mute).then(|| self.0.stamp())))
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        _: Duration,
    ) -> TierFuture<'a, LeaseResult> {
        Box::pin(async move {
            if self.0.is_broken.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "give a lease: broken"));
            }
            if self.is_pending(key) {
                return Ok(LeaseResult::Refused(Refusal::Queued));
            }
            let records = self.0.records();
            let there = records.get(&key.arguments);
            if mode == LeaseMode::Exclusive
                && there
                    .is_some_and(|there| there[..there.len().min(HEADER_LEN)] != *expected_header)
            {
                return Ok(LeaseResult::Held(Wakeup::new(std::future::ready(()))));
            }
            Ok(self.0.leases.take(key, mode, self.0.stamp()))
        })
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        _: Duration,
        _: Duration,
    ) -> TierFuture<'a, FillResult> {
        Box::pin(async move {
            if self.0.is_full.load(Ordering::SeqCst) {
                return Err(Error::new(ErrorKind::Unavailable, "fill: full"));
            }
            let is_held = self.0.fills.available_permits() == 0;
            self.0.has_held_fill.fetch_or(is_held, Ordering::SeqCst);
            self.0.fills.acquire().await.expect("an open gate").forget();
            let mut records = self.0.records();
            if !self.0.leases.holds(key, lease.token) || lease.stamp != self.0.stamp() {
                return Ok(FillResult::Refused(Refusal::Lease));
            }
            records.insert(key.arguments.clone(), record);
            self.0.leases.used(key, lease.token);
            Ok(FillResult::Stored)
        })
    }

    fn invalidate_later(&self, target: Target<'_>) {
        self.0.drop_what_is_meant(target);
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, _: Duration) -> TierFuture<'a, Receipt> {
        Box::pin(async move {
            self.0.gate.acquire().await.expect("an open gate").forget();
            self.0.drop_what_is_meant(target);
            if self.0.keeps_back.swap(false, Ordering::SeqCst) {
                self.0
                    .answers
                    .acquire()
                    .await
                    .expect("an open gate")
                    .forget();
            }
            Ok(Receipt::Acked)
        })
    }

    fn is_pending(&self, _: &RecordKey) -> bool {
        self.0.is_pending.load(Ordering::SeqCst)
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }
}

impl SharedTier for FakeTier {
    fn coherence(&self) -> &Arc<Coherence> {
        self.0.coherence.as_ref().expect("a shared fake tier")
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
        self.0.deadlock_questions.fetch_add(1, Ordering::SeqCst);
        let answer = match &mut *self.0.lost_answers.lock().expect("lost answers") {
            None => Ok(Deadlock::Unknown),
            Some(0) => Ok(Deadlock::Absent),
            Some(lost) => {
                *lost -= 1;
                Err(Error::new(ErrorKind::TimedOut, "look for a deadlock: lost"))
            }
        };
        Box::pin(std::future::ready(answer))
    }
}
