//! The ways in which a test controls a fake tier, and what it sees of one.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use multi_tier_cached::tier::SharedTier;
use multi_tier_cached::tier::kit::lock;
use tokio::sync::Semaphore;

use super::{FakeTier, HeldAt, HeldRead, UNHELD};
use crate::fake_ledger::FakeLedger;

impl FakeTier {
    /// Returns the ledger.
    pub fn fake_ledger(&self) -> &FakeLedger {
        self.state.ledger.as_ref().expect("a tier with a ledger")
    }

    /// Returns the number of invalidations and expiries of tags that were let through.
    pub fn tag_changes(&self) -> u64 {
        self.state.tag_changes.load(Ordering::SeqCst)
    }

    /// Returns the records, valid or not.
    pub fn records(&self) -> Vec<Vec<u8>> {
        lock(&self.state.tier.store().0).values().cloned().collect()
    }

    /// Returns the number of records, valid or not.
    pub fn len(&self) -> usize {
        lock(&self.state.tier.store().0).len()
    }

    /// Returns `true` if there are no records.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Makes the invalidation of every key pending from now on.
    pub fn owe(&self) {
        self.state.is_pending.store(true, Ordering::SeqCst);
    }

    /// Proves that the channel of a shared tier is coherent now.
    pub fn prove(&self) {
        let coherence = self.coherence();
        coherence.proved(coherence.barrier());
    }

    /// Makes the channel of a shared tier incoherent.
    pub fn revoke(&self) {
        self.coherence().revoke();
    }

    /// Deletes the records, as when another instance invalidates them.
    pub fn empty(&self) {
        lock(&self.state.tier.store().0).clear();
    }

    /// Makes reads return no stamp from now on.
    pub fn say_no_stamp(&self) {
        self.state.is_mute.store(true, Ordering::SeqCst);
    }

    /// Makes reads and leases fail from now on.
    pub fn break_down(&self) {
        self.state.is_broken.store(true, Ordering::SeqCst);
    }

    /// Lets reads and leases succeed again.
    pub fn recover(&self) {
        self.state.is_broken.store(false, Ordering::SeqCst);
    }

    /// Answers every question about a deadlock with "none" from now on, except that the next `lost`
    /// questions fail.
    pub fn lose_answers_about_deadlocks(&self, lost: usize) {
        *lock(&self.state.lost_answers) = Some(lost);
    }

    /// Returns the number of questions about a deadlock.
    pub fn deadlock_questions(&self) -> u64 {
        self.state.deadlock_questions.load(Ordering::SeqCst)
    }

    /// Holds the next read that is not held yet.
    pub fn hold_read(&self, at: HeldAt) -> Arc<HeldRead> {
        let held = Arc::new(HeldRead {
            at,
            is_reached: AtomicBool::new(false),
            gate: Semaphore::new(0),
        });
        lock(&self.state.held_reads).push_back(Arc::clone(&held));
        held
    }

    /// Makes fills fail from now on.
    pub fn fill_up(&self) {
        self.state.is_full.store(true, Ordering::SeqCst);
    }

    /// Holds fills from now on.
    pub fn hold_fills(&self) {
        self.state.fills.forget_permits(UNHELD);
    }

    /// Returns `true` once a fill is or was held.
    pub fn has_held_fill(&self) -> bool {
        self.state.has_held_fill.load(Ordering::SeqCst)
    }

    /// Lets one held fill through.
    pub fn let_a_fill_through(&self) {
        self.state.fills.add_permits(1);
    }

    /// Holds the reply to the next invalidation after it is done.
    pub fn keep_back(&self) {
        self.state.keeps_back.store(true, Ordering::SeqCst);
    }

    /// Returns `true` once that reply is held.
    pub fn has_kept_back(&self) -> bool {
        !self.state.keeps_back.load(Ordering::SeqCst)
    }

    /// Gives the held reply.
    pub fn answer(&self) {
        self.state.replies.add_permits(1);
    }

    /// Lets one invalidation through.
    pub fn let_through(&self) {
        self.state.gate.add_permits(1);
    }
}
