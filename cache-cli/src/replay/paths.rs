//! Latencies of calls, by the way in which they were answered.

use std::time::Duration;

use crate::latencies::Latencies;

/// Way in which a call was answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Path {
    L1Hit,
    LowerHitOrWait,
    Load,
}

/// The ways, with their names in the table and in JSON.
pub(super) const PATHS: [(Path, &str, &str); 3] = [
    (Path::L1Hit, "l1 hit", "l1_hit"),
    (Path::LowerHitOrWait, "lower hit, wait", "lower_hit_or_wait"),
    (Path::Load, "load", "load"),
];

/// Latencies of each path, and the number of wrong values.
#[derive(Debug, Default)]
pub(super) struct Paths {
    of: [Latencies; 3],
    pub(super) wrong: u64,
}

impl Paths {
    pub(super) fn of(&self, path: Path) -> &Latencies {
        &self.of[path as usize]
    }

    pub(super) fn record(&mut self, path: Path, took: Duration) {
        self.of[path as usize].record(took);
    }

    /// Counts a value that belongs to another key.
    pub(super) fn count_wrong(&mut self) {
        self.wrong += 1;
    }

    /// Returns the number of calls.
    pub(super) fn calls(&self) -> u64 {
        self.of.iter().map(Latencies::count).sum()
    }

    pub(super) fn merge(&mut self, other: &Self) {
        for (all, one) in self.of.iter_mut().zip(&other.of) {
            all.merge(one);
        }
        self.wrong += other.wrong;
    }
}
