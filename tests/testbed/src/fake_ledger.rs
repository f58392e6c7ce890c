//! The ledger of a fake tier: a test says whether its state is known, and whether it can be asked.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::kit::{LedgerContents, LocalLedger, lock};
use multi_tier_cached::tier::{
    LeaseResult, Ledger, Mark, Marks, MarksState, RecordKey, TierFuture,
};
use multi_tier_cached::{Error, ErrorKind};

/// A ledger that a test controls.
#[derive(Debug, Default)]
pub struct FakeLedger {
    pub(crate) ledger: LocalLedger,
    /// `true` while the channel has not announced the state.
    is_unknown: AtomicBool,
    /// `true` if questions to the store fail.
    is_lost: AtomicBool,
    /// `true` if an invalidation of every tag is queued.
    is_pending: AtomicBool,
    /// `true` if the channel announces nothing any more.
    is_silent: AtomicBool,
    /// The mark of leases, if it is not that of the ledger.
    marks: Mutex<Option<Option<Mark>>>,
    enabled: AtomicU64,
    questions: AtomicU64,
}

impl FakeLedger {
    /// Makes the state unknown, so that the store is asked.
    pub fn forget_state(&self) {
        self.is_unknown.store(true, Ordering::SeqCst);
    }

    /// Makes the channel announce nothing any more, as far as this instance knows: each record is
    /// valid by it.
    pub fn fall_silent(&self) {
        self.is_silent.store(true, Ordering::SeqCst);
    }

    /// Grants leases without a mark from now on.
    pub fn withhold_marks(&self) {
        *lock(&self.marks) = Some(None);
    }

    /// Grants leases with a mark of zeros from now on, which the records of earlier builds have.
    pub fn mark_with_zeros(&self) {
        *lock(&self.marks) = Some(Some(Mark::default()));
    }

    pub(crate) fn mark_lease(&self, key: &RecordKey, leased: LeaseResult) -> LeaseResult {
        match (*lock(&self.marks), leased) {
            (None, leased) => self.ledger.mark_lease(key, leased),
            (Some(Some(mark)), LeaseResult::Granted(lease)) => {
                LeaseResult::Granted(lease.with_mark(mark))
            }
            (Some(_), leased) => leased,
        }
    }

    /// Makes questions to the store fail.
    pub fn lose(&self) {
        self.is_lost.store(true, Ordering::SeqCst);
    }

    /// Makes the invalidation of every tag pending from now on.
    pub fn owe(&self) {
        self.is_pending.store(true, Ordering::SeqCst);
    }

    /// Loses everything, as an eviction does: the ledger begins again with another base.
    pub fn begin_again(&self) {
        self.ledger.replace(LedgerContents::default());
    }

    /// Returns how many functions have enabled the ledger.
    pub fn enabled(&self) -> u64 {
        self.enabled.load(Ordering::SeqCst)
    }

    /// Returns the number of questions to the store.
    pub fn questions(&self) -> u64 {
        self.questions.load(Ordering::SeqCst)
    }
}

impl Ledger for FakeLedger {
    fn enable(&self) {
        self.enabled.fetch_add(1, Ordering::SeqCst);
    }

    fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        if self.is_silent.load(Ordering::SeqCst) {
            return Some(MarksState::Valid);
        }
        let is_known = !self.is_unknown.load(Ordering::SeqCst);
        is_known.then(|| self.ledger.judge(marks))
    }

    fn state_in_store<'a>(&'a self, marks: Marks<'a>, _: Duration) -> TierFuture<'a, MarksState> {
        self.questions.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move {
            match self.is_lost.load(Ordering::SeqCst) {
                true => Err(Error::new(ErrorKind::Unavailable, "ledger: lost")),
                false => Ok(self.ledger.judge(marks)),
            }
        })
    }

    fn is_pending(&self, _: &[u64]) -> bool {
        self.is_pending.load(Ordering::SeqCst)
    }
}
