//! Events counted by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Numbers of events by kind.
#[derive(Debug, Default)]
pub struct Counts(Mutex<BTreeMap<&'static str, usize>>);

impl Counts {
    /// Counts one event.
    pub fn count(&self, kind: &'static str) {
        self.add(kind, 1);
    }

    /// Counts several events.
    pub fn add(&self, kind: &'static str, times: usize) {
        *self.lock().entry(kind).or_default() += times;
    }

    /// Returns the number of events of a kind.
    #[must_use]
    pub fn of(&self, kind: &'static str) -> usize {
        self.lock().get(kind).copied().unwrap_or(0)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = self.lock();
        let mut counts = counts.iter();
        if let Some((kind, times)) = counts.next() {
            write!(f, "{kind} {times}")?;
        }
        counts.try_for_each(|(kind, times)| write!(f, ", {kind} {times}"))
    }
}
