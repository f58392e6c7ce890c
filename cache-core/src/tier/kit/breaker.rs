//! A circuit breaker: after some failures in a row, calls continue without the store.
//!
//! Calls are never the probe. A task of the tier probes the store, and calls that arrive in the
//! meantime continue without it.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::tier::Breaker;

/// Counts failures in a row, and opens at a threshold.
///
/// All its atomics are relaxed: they order no other data. The connection behind a breaker has a
/// lock of its own.
#[derive(Debug)]
pub struct CircuitBreaker {
    threshold: u32,
    failures: AtomicU32,
    /// One of the constants below.
    state: AtomicU32,
}

const CLOSED: u32 = 0;
const OPEN: u32 = 1;
const HALF_OPEN: u32 = 2;

impl CircuitBreaker {
    /// Creates a breaker that opens after `threshold` failures in a row. It is open until it is
    /// [closed](Self::close) for the first time, because the store was not reached yet.
    #[must_use]
    pub fn new(threshold: u32) -> Self {
        Self {
            threshold,
            failures: AtomicU32::new(0),
            state: AtomicU32::new(OPEN),
        }
    }

    /// Returns the state, as a tier reports it.
    #[must_use]
    pub fn state(&self) -> Breaker {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => Breaker::Closed,
            HALF_OPEN => Breaker::HalfOpen,
            _ => Breaker::Open,
        }
    }

    /// Notes that an operation got its reply. An open breaker stays open: the reply may be of a
    /// connection that was given up.
    pub fn succeeded(&self) {
        // Written only if needed: every operation reads this, and a write would take the cache line
        // from all other cores.
        if self.failures.load(Ordering::Relaxed) != 0 {
            self.failures.store(0, Ordering::Relaxed);
        }
    }

    /// Notes that an operation got no reply in time. Returns `true` if that opens the breaker.
    pub fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed);
        failures.saturating_add(1) >= self.threshold && self.open()
    }

    /// Opens the breaker. Returns `true` if it was closed.
    pub fn open(&self) -> bool {
        self.state.swap(OPEN, Ordering::Relaxed) == CLOSED
    }

    /// Notes that a probe is in progress.
    pub fn half_open(&self) {
        self.state.store(HALF_OPEN, Ordering::Relaxed);
    }

    /// Closes the breaker after a probe that succeeded, and begins to count from zero.
    pub fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.state.store(CLOSED, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn breaker_opens_after_failures_in_a_row_and_closes_after_a_probe() {
        let breaker = CircuitBreaker::new(3);
        assert_eq!(breaker.state(), Breaker::Open);
        breaker.close();
        assert!(!breaker.failed() && !breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed() && !breaker.failed());
        assert_eq!(breaker.state(), Breaker::Closed);
        assert!(breaker.failed());
        assert_eq!(breaker.state(), Breaker::Open);
        assert!(!breaker.failed(), "it was open already");
        breaker.half_open();
        assert_eq!(breaker.state(), Breaker::HalfOpen);
        breaker.close();
        assert_eq!(breaker.state(), Breaker::Closed);
        assert!(!breaker.failed(), "the count started from zero");
    }
}
