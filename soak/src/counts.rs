//! What was done, counted by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Counts.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, usize>>);

impl Counts {
    /// It was done once more.
    pub fn count(&self, what: &'static str) {
        self.add(what, 1);
    }

    /// It was done so many times more.
    pub fn add(&self, what: &'static str, times: usize) {
        *self.lock().entry(what).or_default() += times;
    }

    /// How often it was done.
    #[must_use]
    pub fn of(&self, what: &'static str) -> usize {
        self.lock().get(what).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.lock();
        let mut counts = counts.iter();
        if let Some((what, times)) = counts.next() {
            write!(f, "{what} {times}")?;
        }
        counts.try_for_each(|(what, times)| write!(f, ", {what} {times}"))
    }
}
