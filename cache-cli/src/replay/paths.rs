//! Latencies of calls, by the way in which they were answered.

use std::time::Duration;

/// Way in which a call was answered.
#[derive(Clone, Copy)]
pub(crate) enum Path {
    L1Hit,
    LowerHitOrWait,
    Load,
}

pub(crate) const PATHS: [(Path, &str); 3] = [
    (Path::L1Hit, "l1 hit"),
    (Path::LowerHitOrWait, "lower hit, wait"),
    (Path::Load, "load"),
];

/// Nanoseconds of each call, by path, and the number of wrong values.
#[derive(Default)]
pub(crate) struct Latencies {
    pub(crate) of: [Vec<u64>; 3],
    pub(crate) wrong: u64,
}

impl Latencies {
    pub(crate) fn record(&mut self, path: Path, took: Duration) {
        self.of[path as usize].push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a value that belongs to another key.
    pub(crate) fn count_wrong(&mut self) {
        self.wrong += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (all, one) in self.of.iter_mut().zip(other.of) {
            all.extend(one);
        }
        self.wrong += other.wrong;
    }
}
