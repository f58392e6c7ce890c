//! The circuit breaker: after some failures in a row nobody waits for the server, until a probe gets through.
//!
//! Callers are never the probe: it is the supervisor of the link that tries, and a call that comes meanwhile goes on
//! without the tier.

use std::sync::atomic::{AtomicU32, Ordering};

use cache_core::tier::Breaker as State;

/// Counts failures in a row.
#[derive(Debug)]
pub(crate) struct Breaker {
    threshold: u32,
    failures: AtomicU32,
    /// `State` as a number.
    state: AtomicU32,
}

const CLOSED: u32 = 0;
const OPEN: u32 = 1;
const HALF_OPEN: u32 = 2;

impl Breaker {
    /// Open, until the first connection.
    pub(crate) fn new(threshold: u32) -> Self {
        Self {
            threshold,
            failures: AtomicU32::new(0),
            state: AtomicU32::new(OPEN),
        }
    }

    /// Relaxed, here and below: the breaker guards no data, the connection is behind a lock of its own.
    pub(crate) fn state(&self) -> State {
        match self.state.load(Ordering::Relaxed) {
            CLOSED => State::Closed,
            HALF_OPEN => State::HalfOpen,
            _ => State::Open,
        }
    }

    /// An operation got its answer.
    pub(crate) fn succeeded(&self) {
        self.failures.store(0, Ordering::Relaxed);
    }

    /// An operation got none in time; `true` when that opens the breaker.
    pub(crate) fn failed(&self) -> bool {
        let failures = self.failures.fetch_add(1, Ordering::Relaxed) + 1;
        failures >= self.threshold && self.open()
    }

    /// Opens it; `true` when it was closed.
    pub(crate) fn open(&self) -> bool {
        self.state.swap(OPEN, Ordering::Relaxed) == CLOSED
    }

    /// A probe is under way.
    pub(crate) fn half_open(&self) {
        self.state.store(HALF_OPEN, Ordering::Relaxed);
    }

    /// A probe got through.
    pub(crate) fn close(&self) {
        self.failures.store(0, Ordering::Relaxed);
        self.state.store(CLOSED, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_closes_after_a_probe() {
        let breaker = Breaker::new(3);
        assert_eq!(breaker.state(), State::Open);
        breaker.close();
        assert!(!breaker.failed() && !breaker.failed());
        breaker.succeeded();
        assert!(!breaker.failed() && !breaker.failed());
        assert_eq!(breaker.state(), State::Closed);
        assert!(breaker.failed());
        assert_eq!(breaker.state(), State::Open);
        assert!(!breaker.failed(), "it is open already");
        breaker.half_open();
        assert_eq!(breaker.state(), State::HalfOpen);
        breaker.close();
        assert_eq!(breaker.state(), State::Closed);
        assert!(!breaker.failed(), "the count began anew");
    }
}
