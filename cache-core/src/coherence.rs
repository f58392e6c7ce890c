//! Coherence: whether this instance has heard of every invalidation that is older than a bound.
//!
//! A shared tier proves it with a barrier: it notes the time, asks the server on the connection that carries the invalidations,
//! and when the answer is there, all that was sent before it has been applied. From the time that was noted on, for the
//! length of the bound, memory may answer for functions that other instances invalidate. (Gray and Cheriton's lease, Stanford
//! CS-TR-90-1298: by one clock, that of this host, of which only the rate must be right.)

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Moment, Reading};

/// The coarse clock is late by one tick at most; the bound is kept all the same.
const TICK: Duration = Duration::from_millis(10);

/// Shortest bound: a barrier must get through several times within it.
const SHORTEST: Duration = Duration::from_millis(50);

/// What a shared tier knows about its channel, and memory asks on every hit.
#[derive(Debug)]
pub struct Coherence {
    bound: Duration,
    /// Until when it holds, by the monotonic clock; zero when it does not.
    until: AtomicU64,
    /// When the last barrier began, by the wall clock.
    wall: AtomicU64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Of the channel: a barrier of an older one proves nothing.
    generation: u64,
    since: Option<Moment>,
    last: Option<Moment>,
}

/// A barrier that was sent and not yet answered.
#[derive(Clone, Copy, Debug)]
pub struct Barrier {
    began: Reading,
    generation: u64,
}

impl Coherence {
    /// With this bound on how old a value may be after its invalidation; at least 50 ms.
    #[must_use]
    pub fn new(bound: Duration) -> Self {
        Self {
            bound: bound.max(SHORTEST),
            until: AtomicU64::new(0),
            wall: AtomicU64::new(0),
            state: Mutex::default(),
        }
    }

    /// The bound.
    #[must_use]
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// Begins a barrier. To be called before it is sent.
    #[must_use]
    pub fn barrier(&self) -> Barrier {
        let generation = self.lock().generation;
        Barrier {
            began: Reading::now(),
            generation,
        }
    }

    /// The barrier was answered, and all that came before the answer is applied. Of no effect when it was
    /// [revoked](Self::revoke) since.
    pub fn proved(&self, barrier: Barrier) {
        let mut state = self.lock();
        if state.generation != barrier.generation {
            return;
        }
        let Reading { monotonic, wall } = barrier.began;
        if state.last > Some(monotonic) && state.since.is_some() {
            // A later one was answered before.
            return;
        }
        // Release: who sees that it holds sees the fences that were raised before. Between the two stores a reader has
        // the times of two barriers, each of which was good.
        self.wall.store(wall, Ordering::Release);
        if state
            .last
            .is_some_and(|last| monotonic.since(last) >= self.bound)
        {
            // It did not hold for a while.
            state.since = None;
        }
        let until = monotonic.after(self.bound - TICK);
        self.until.store(until.nanos(), Ordering::Release);
        state.since.get_or_insert(monotonic);
        state.last = Some(monotonic);
    }

    /// The channel is gone, or can no longer be trusted.
    pub fn revoke(&self) {
        let mut state = self.lock();
        state.generation += 1;
        state.since = None;
        self.until.store(0, Ordering::Release);
    }

    /// Whether it holds now.
    #[must_use]
    #[inline]
    pub fn holds(&self) -> bool {
        self.holds_at(Reading::now())
    }

    /// The monotonic clock stands still while the machine sleeps, the wall clock does not: it can only revoke, and where it
    /// jumps, the next barrier makes good.
    #[inline]
    pub(crate) fn holds_at(&self, now: Reading) -> bool {
        now.monotonic.nanos() < self.until.load(Ordering::Acquire)
            && u128::from(now.wall.wrapping_sub(self.wall.load(Ordering::Acquire)))
                < self.bound.as_nanos()
    }

    /// Since when it holds without a break, and how long ago the last barrier began.
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
        assert!(!coherence.holds(), "nothing is proved yet");
        let barrier = coherence.barrier();
        coherence.proved(barrier);
        (coherence, barrier.began)
    }

    #[test]
    fn it_holds_for_the_bound_from_when_the_barrier_began() {
        let (coherence, began) = proved();
        assert!(coherence.holds_at(began));
        assert!(coherence.holds_at(later(began, 489, 489)));
        assert!(
            !coherence.holds_at(later(began, 490, 490)),
            "a tick before the bound"
        );
    }

    #[test]
    fn a_barrier_from_before_the_channel_was_lost_proves_nothing() {
        let (coherence, _) = proved();
        let barrier = coherence.barrier();
        coherence.revoke();
        assert!(!coherence.holds());
        coherence.proved(barrier);
        assert!(!coherence.holds());
        coherence.proved(coherence.barrier());
        assert!(coherence.holds());
    }

    /// Asleep, the monotonic clock stood still.
    #[test]
    fn a_machine_that_slept_is_not_coherent() {
        let (coherence, began) = proved();
        assert!(!coherence.holds_at(later(began, 1, 60_000)));
        assert!(
            !coherence.holds_at(later(began, 1, -60_000)),
            "nor is one whose clock was set back"
        );
    }

    #[test]
    fn barriers_that_are_answered_out_of_order_leave_the_latest() {
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
