//! Pauses between attempts to connect.

use std::time::Duration;

/// Short first, since most outages are restarts; then long enough to cost nothing.
const FIRST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(1);

/// A connection that lasted so long was a good one.
const SERVED: Duration = Duration::from_secs(1);

/// The pause that comes next: doubled each time, until a connection has served.
#[derive(Debug)]
pub(crate) struct Pause(Duration);

impl Pause {
    pub(crate) fn new() -> Self {
        Self(FIRST)
    }

    /// After an attempt that failed. Half to one and a half of it, so that instances do not come back all at once.
    pub(crate) fn after_failure(&mut self) -> Duration {
        let pause = self.0.mul_f64(0.5 + fastrand::f64());
        self.0 = (self.0 * 2).min(LONGEST);
        pause
    }

    /// After a connection that lasted so long. One that was lost at once would be again.
    pub(crate) fn after_loss(&mut self, lasted: Duration) -> Duration {
        if lasted < SERVED {
            return self.after_failure();
        }
        self.0 = FIRST;
        Duration::ZERO
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_grows_until_a_connection_has_served() {
        let mut pause = Pause::new();
        let mut expected = FIRST;
        for _ in 0..10 {
            let next = pause.after_failure();
            assert!(
                (expected / 2..=expected * 3 / 2).contains(&next),
                "{next:?}"
            );
            expected = (expected * 2).min(LONGEST);
        }
        assert!(
            pause.after_loss(Duration::from_millis(5)) >= LONGEST / 2,
            "it was lost at once"
        );
        assert_eq!(pause.after_loss(SERVED), Duration::ZERO);
        assert!(pause.after_failure() <= FIRST * 3 / 2);
    }
}
