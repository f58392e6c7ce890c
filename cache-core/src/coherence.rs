//! Coherence: an instance is coherent if it has applied every invalidation older than a bound.
//!
//! A shared tier proves this with a barrier. It notes the time, and sends a request on the
//! connection that carries the invalidations. When the reply arrives, all invalidations that were
//! sent before it have been applied. From the noted time on, for the length of the bound, memory
//! may answer for functions that other instances invalidate.
//!
//! This is the lease of Gray and Cheriton (Stanford CS-TR-90-1298). It needs one clock only, that
//! of this host, of which only the rate has to be right.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Moment, Reading};

/// Longest tick of the coarse clock, by which it may be late. The lease is shorter by a tick, so
/// the bound is kept.
const TICK: Duration = Duration::from_millis(10);

/// Shortest bound. Several barriers must fit in, so that a slow one does not end coherence.
const SHORTEST: Duration = Duration::from_millis(50);

/// Coherence of a shared tier, which every hit in memory checks.
#[derive(Debug)]
pub struct Coherence {
    bound: Duration,
    /// End of coherence by the monotonic clock, or zero. Written with `Release` after the fences
    /// were raised, and read with `Acquire`, so a reader that finds the instance coherent sees the
    /// fences.
    until: AtomicI64,
    /// Begin of the last barrier by the wall clock. Ordered like `until`.
    wall: AtomicU64,
    /// Never held while user code or wakers run.
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the channel. A barrier of an earlier channel proves nothing.
    generation: u64,
    /// Time since which the instance has been coherent without interruption.
    since: Option<Moment>,
    /// Begin of the last barrier that was answered.
    last: Option<Moment>,
}

/// A barrier that has not been answered yet.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    began: Reading,
    generation: u64,
}

impl Coherence {
    /// Creates a state that is not coherent yet.
    ///
    /// `bound` is the longest time for which an invalidated value may be returned. It is raised to
    /// 50 ms if it is shorter.
    #[must_use]
    pub fn new(bound: Duration) -> Self {
        Self {
            bound: bound.max(SHORTEST),
            until: AtomicI64::new(0),
            wall: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// Returns the staleness bound.
    #[must_use]
    pub fn staleness_bound(&self) -> Duration {
        self.bound
    }

    /// Begins a barrier. The caller must call this before it sends the request.
    #[must_use]
    pub fn barrier(&self) -> Barrier {
        let generation = self.lock().generation;
        Barrier {
            began: Reading::now(),
            generation,
        }
    }

    /// Marks the instance coherent from the begin of a barrier on.
    ///
    /// The caller must have applied all messages that came before the reply. This has no effect if
    /// coherence was [revoked](Self::revoke) after the barrier began.
    pub fn proved(&self, barrier: Barrier) {
        let mut state = self.lock();
        if state.generation != barrier.generation {
            return;
        }
        let Reading { monotonic, wall } = barrier.began;
        if state.last > Some(monotonic) && state.since.is_some() {
            // A later barrier was answered before this one.
            return;
        }
        // Release: a reader that finds the instance coherent sees the fences that were raised
        // before. Between the two stores a reader sees the times of two barriers, and each of them
        // is valid.
        self.wall.store(wall, Ordering::Release);
        if state
            .last
            .is_some_and(|last| monotonic.since(last) >= self.bound)
        {
            // The last barrier had expired, so coherence was interrupted.
            state.since = None;
        }
        let until = monotonic.after(self.bound - TICK);
        self.until.store(until.nanos(), Ordering::Release);
        state.since.get_or_insert(monotonic);
        state.last = Some(monotonic);
    }

    /// Ends coherence, because the channel is lost or may have missed messages.
    pub fn revoke(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.since = None;
        self.until.store(0, Ordering::Release);
    }

    /// Returns `true` if the instance is coherent now.
    #[must_use]
    #[inline]
    pub fn holds(&self) -> bool {
        self.holds_at(Reading::now())
    }

    /// Returns `true` if the instance is coherent at `now`.
    ///
    /// The monotonic clock does not advance while the machine sleeps, but the wall clock does. So
    /// both must be within the bound: the wall clock can only end coherence. If it jumps, the next
    /// barrier restores coherence.
    #[inline]
    pub(crate) fn holds_at(&self, now: Reading) -> bool {
        now.monotonic.nanos() < self.until.load(Ordering::Acquire)
            && u128::from(now.wall.wrapping_sub(self.wall.load(Ordering::Acquire)))
                < self.bound.as_nanos()
    }

    /// Returns for how long the instance has been coherent without interruption, and how long ago
    /// the last barrier began.
    #[must_use]
    pub fn age(&self) -> (Option<Duration>, Option<Duration>) {
        let now = Reading::now().monotonic;
        let state = self.lock();
        let holds = self.holds();
        (
            state.since.filter(|_| holds).map(|since| now.since(since)),
            state.last.map(|last| now.since(last)),
        )
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(500);

    fn later(reading: Reading, monotonic: u64, wall: i64) -> Reading {
        Reading {
            monotonic: reading.monotonic.after(Duration::from_millis(monotonic)),
            wall: reading.wall.wrapping_add_signed(wall * 1_000_000),
        }
    }

    fn proved() -> (Coherence, Reading) {
        let coherence = Coherence::new(BOUND);
        assert!(!coherence.holds(), "no barrier was answered yet");
        let barrier = coherence.barrier();
        coherence.proved(barrier);
        (coherence, barrier.began)
    }

    #[test]
    fn coherence_lasts_for_the_bound_from_the_begin_of_the_barrier() {
        let (coherence, began) = proved();
        assert!(coherence.holds_at(began));
        assert!(coherence.holds_at(later(began, 489, 489)));
        assert!(
            !coherence.holds_at(later(began, 490, 490)),
            "a tick before the bound"
        );
    }

    #[test]
    fn barrier_from_before_a_revocation_has_no_effect() {
        let (coherence, _) = proved();
        let barrier = coherence.barrier();
        coherence.revoke();
        assert!(!coherence.holds());
        coherence.proved(barrier);
        assert!(!coherence.holds());
        coherence.proved(coherence.barrier());
        assert!(coherence.holds());
    }

    /// The monotonic clock does not advance while the machine sleeps.
    #[test]
    fn instance_is_not_coherent_after_its_machine_slept() {
        let (coherence, began) = proved();
        assert!(!coherence.holds_at(later(began, 1, 60_000)));
        assert!(
            !coherence.holds_at(later(began, 1, -60_000)),
            "the wall clock was set back"
        );
    }

    #[test]
    fn barrier_answered_after_a_later_one_has_no_effect() {
        let coherence = Coherence::new(BOUND);
        let first = coherence.barrier();
        let second = Barrier {
            began: later(first.began, 100, 100),
            ..first
        };
        coherence.proved(second);
        coherence.proved(first);
        assert!(coherence.holds_at(later(first.began, 580, 580)));
    }
}
