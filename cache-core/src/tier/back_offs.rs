//! The back-offs of a store that one process uses, after loads that failed.

use std::collections::HashMap;
use std::time::Duration;

use tokio::time::Instant;

use super::lease::BackOff;

/// The time after the end of a back-off for which the number of failures is remembered, so that the
/// next failure counts on.
pub(super) const REMEMBERED: Duration = Duration::from_secs(2 * 60);

/// The largest number of keys that are backed off at the same time. Beyond it, failures are not
/// noted: their loads are paced by the memory of the instance alone.
const MOST: usize = 10_000;

/// The back-offs by key.
#[derive(Default)]
pub(super) struct BackOffs(HashMap<String, Mark>);

struct Mark {
    function: String,
    until: Instant,
    failures: u32,
}

impl BackOffs {
    /// Notes a load that failed. Removes the marks that have expired.
    pub(super) fn note(&mut self, key: &str, function: &str, back_off: BackOff) {
        let now = Instant::now();
        self.0.retain(|_, mark| now < mark.until + REMEMBERED);
        if self.0.len() < MOST {
            let mark = Mark {
                function: function.to_owned(),
                until: now + back_off.lasts,
                failures: back_off.failures,
            };
            self.0.insert(key.to_owned(), mark);
        }
    }

    /// Returns how long the key is still backed off.
    pub(super) fn left(&self, key: &str) -> Option<Duration> {
        let left = self
            .0
            .get(key)?
            .until
            .checked_duration_since(Instant::now());
        left.filter(|left| !left.is_zero())
    }

    /// Returns the number of loads of the key that failed in a row.
    pub(super) fn failures(&self, key: &str) -> u32 {
        let mark = self.0.get(key);
        let mark = mark.filter(|mark| Instant::now() < mark.until + REMEMBERED);
        mark.map_or(0, |mark| mark.failures)
    }

    pub(super) fn remove(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// Removes the marks for which `is_meant` returns `true`, given the key and its function.
    pub(super) fn remove_if(&mut self, is_meant: impl Fn(&str, &str) -> bool) {
        self.0.retain(|key, mark| !is_meant(key, &mark.function));
    }
}
