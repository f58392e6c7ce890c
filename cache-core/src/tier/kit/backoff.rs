//! Pauses between attempts to reach a store.

use std::time::Duration;

/// The pause after the first failure. It is short, because most outages are restarts.
const FIRST: Duration = Duration::from_millis(100);

/// The longest pause: attempts at this rate cost nothing.
const LONGEST: Duration = Duration::from_secs(1);

/// A connection that lasted this long was useful, so the next attempt need not wait.
const SERVED: Duration = Duration::from_secs(1);

/// Exponential backoff with jitter: from 100 ms, doubled after each failure, to 1 s.
#[derive(Debug)]
pub struct Backoff {
    next: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { next: FIRST }
    }
}

impl Backoff {
    /// Returns the pause after a failed attempt. It is between half and one and a half of the
    /// nominal pause, so that instances do not all come back at the same moment.
    #[must_use]
    pub fn after_failure(&mut self) -> Duration {
        let pause = self.next.mul_f64(0.5 + fastrand::f64());
        self.next = (self.next * 2).min(LONGEST);
        pause
    }

    /// Returns the pause after a connection that was lost, by the time it `lasted`. A connection
    /// that was lost at once is treated like a failed attempt, because the next one would probably
    /// be lost as well. After any other the backoff starts again from its first pause.
    #[must_use]
    pub fn after_loss(&mut self, lasted: Duration) -> Duration {
        if lasted < SERVED {
            return self.after_failure();
        }
        self.next = FIRST;
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pause_grows_until_a_connection_has_served() {
        let mut backoff = Backoff::default();
        let mut expected = FIRST;
        for _ in 0..10 {
            let next = backoff.after_failure();
            assert!(
                (expected / 2..=expected * 3 / 2).contains(&next),
                "{next:?}"
            );
            expected = (expected * 2).min(LONGEST);
        }
        assert!(
            backoff.after_loss(Duration::from_millis(5)) >= LONGEST / 2,
            "a connection that was lost at once is a failure"
        );
        assert_eq!(backoff.after_loss(SERVED), Duration::ZERO);
        assert!(backoff.after_failure() <= FIRST * 3 / 2);
    }
}
