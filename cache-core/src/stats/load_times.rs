//! How long the bodies of a function ran, by result.

use serde::{Deserialize, Serialize};

use super::histogram::{Histogram, LiveHistogram};

/// How a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadResult {
    Value,
    Absent,
    Error,
    Cancelled,
}

impl LoadResult {
    /// Returns the name of the result in metrics and spans.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Absent => "absent",
            Self::Error => "error",
            Self::Cancelled => "cancelled",
        }
    }
}

/// The times of the bodies of one function, which are recorded into.
#[derive(Debug, Default)]
pub(crate) struct LiveLoadTimes {
    value: LiveHistogram,
    absent: LiveHistogram,
    error: LiveHistogram,
    cancelled: LiveHistogram,
}

impl LiveLoadTimes {
    /// Returns the histogram of the bodies with this result.
    pub(crate) fn of(&self, result: LoadResult) -> &LiveHistogram {
        match result {
            LoadResult::Value => &self.value,
            LoadResult::Absent => &self.absent,
            LoadResult::Error => &self.error,
            LoadResult::Cancelled => &self.cancelled,
        }
    }

    /// Returns what was recorded so far.
    pub(crate) fn snapshot(&self) -> LoadTimes {
        LoadTimes {
            value: self.value.snapshot(),
            absent: self.absent.snapshot(),
            error: self.error.snapshot(),
            cancelled: self.cancelled.snapshot(),
        }
    }
}

/// How long the bodies of a function ran, by result. Each body that ended is in one of the
/// histograms, once. A body of several ids is in them once for each id.
///
/// The time is that of the body alone, without the tiers and without waits for other loads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct LoadTimes {
    /// Bodies that returned a value, whether it was kept or not.
    pub value: Histogram,
    /// Bodies that returned that there is no value: `None` or `Ok(None)`.
    pub absent: Histogram,
    /// Bodies that returned an error, or that called
    /// [`caching::failed`](crate::caching::failed).
    pub error: Histogram,
    /// Bodies that returned nothing: they panicked, reached their limit, or were dropped together
    /// with their caller or at the shutdown of the runtime.
    pub cancelled: Histogram,
}

impl LoadTimes {
    /// Returns the histograms with the names of the results.
    pub(crate) fn named(&self) -> [(&'static str, &Histogram); 4] {
        [
            (LoadResult::Value.name(), &self.value),
            (LoadResult::Absent.name(), &self.absent),
            (LoadResult::Error.name(), &self.error),
            (LoadResult::Cancelled.name(), &self.cancelled),
        ]
    }

    /// Returns the number of bodies that ended.
    #[must_use]
    pub fn count(&self) -> u64 {
        let all = [&self.value, &self.absent, &self.error, &self.cancelled];
        let counts = all.into_iter().map(Histogram::count);
        counts.fold(0, u64::saturating_add)
    }

    /// Returns the histogram of all bodies that returned something: a value, none, or an error.
    #[must_use]
    pub fn returned(&self) -> Histogram {
        let mut all = self.value.clone();
        all.merge(&self.absent);
        all.merge(&self.error);
        all
    }
}
