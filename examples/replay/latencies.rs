//! How long calls took, by how they were answered.

use std::time::Duration;

/// How a call was answered.
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

/// Nanoseconds of each call, by path; and wrong values.
#[derive(Default)]
pub(crate) struct Latencies {
    pub(crate) of: [Vec<u64>; 3],
    pub(crate) wrong: u64,
}

impl Latencies {
    pub(crate) fn note(&mut self, path: Path, took: Duration) {
        self.of[path as usize].push(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// A value was not its key's.
    pub(crate) fn note_wrong(&mut self) {
        self.wrong += 1;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        for (all, one) in self.of.iter_mut().zip(other.of) {
            all.extend(one);
        }
        self.wrong += other.wrong;
    }
}
