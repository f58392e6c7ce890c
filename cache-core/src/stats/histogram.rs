//! Histograms of durations: how often something took how long.
//!
//! A [`LiveHistogram`] is recorded into by all threads, without a lock and without an allocation.
//! A [`Histogram`] is what it held at one moment. Neither is used by a call that memory answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Number of bounds: six for each power of ten from 10 us to 7 s, and 10, 15, 20 and 30 s.
const BOUNDS: usize = 40;

/// The upper bounds of the buckets, each of which is part of its bucket. A last bucket has no
/// bound.
const BOUND: [Duration; BOUNDS] = bounds();

const fn bounds() -> [Duration; BOUNDS] {
    let steps = [10, 15, 20, 30, 50, 70];
    let mut bounds = [Duration::ZERO; BOUNDS];
    let (mut at, mut unit) = (0, 1);
    while at < BOUNDS {
        bounds[at] = Duration::from_micros(steps[at % steps.len()] * unit);
        at += 1;
        if at % steps.len() == 0 {
            unit *= 10;
        }
    }
    bounds
}

/// Number of buckets.
const BUCKETS: usize = BOUNDS + 1;

/// A histogram that is recorded into.
#[derive(Debug)]
pub(crate) struct LiveHistogram {
    /// Relaxed, as the sum is: they order no other accesses, and a snapshot need not contain an
    /// observation that is recorded at the same time.
    buckets: [AtomicU64; BUCKETS],
    /// Sum of all durations in nanoseconds, which fits for 584 years.
    sum: AtomicU64,
}

impl Default for LiveHistogram {
    fn default() -> Self {
        Self {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
        }
    }
}

impl LiveHistogram {
    /// Records one duration.
    pub(crate) fn record(&self, took: Duration) {
        let bucket = BOUND.partition_point(|bound| *bound < took);
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns what was recorded so far.
    pub(crate) fn snapshot(&self) -> Histogram {
        let sum = Duration::from_nanos(self.sum.load(Ordering::Relaxed));
        // Most histograms of a program are empty. Without a sum, only durations of zero can have
        // been recorded, which are in the first bucket, so the others are not read.
        let used = match sum.is_zero() {
            true => &self.buckets[..1],
            false => &self.buckets[..],
        };
        let mut buckets = Vec::new();
        for (at, count) in used.iter().enumerate() {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let up_to = BOUND.get(at).copied();
                buckets.push(HistogramBucket { up_to, count });
            }
        }
        Histogram { sum, buckets }
    }
}

/// How often something took how long, since the runtime was built.
///
/// The bounds of the buckets are 1, 1.5, 2, 3, 5 and 7 times a power of ten, from 10 us to 30 s.
/// Serialized, it has the sum and those buckets that are not empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct Histogram {
    sum: Duration,
    /// The buckets that are not empty, by their bounds.
    buckets: Vec<HistogramBucket>,
}

/// One bucket of a [`Histogram`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct HistogramBucket {
    /// Longest duration of the bucket. The shortest one is longer than the bound of the bucket
    /// below. `None`: everything above the highest bound.
    pub up_to: Option<Duration>,
    /// Number of durations in the bucket.
    pub count: u64,
}

impl HistogramBucket {
    /// Returns the bound, by which buckets are ordered.
    fn bound(&self) -> Duration {
        self.up_to.unwrap_or(Duration::MAX)
    }
}

impl Histogram {
    /// Returns the number of durations.
    #[must_use]
    pub fn count(&self) -> u64 {
        let counts = self.buckets.iter().map(|bucket| bucket.count);
        counts.fold(0, u64::saturating_add)
    }

    /// Returns the sum of all durations.
    #[must_use]
    pub fn sum(&self) -> Duration {
        self.sum
    }

    /// Returns the buckets that are not empty, in ascending order.
    #[must_use]
    pub fn buckets(&self) -> &[HistogramBucket] {
        &self.buckets
    }

    /// Returns the duration that this share of all durations do not exceed: `quantile(0.5)` is the
    /// median, and `quantile(0.99)` the 99th percentile. `None` if there are no durations.
    ///
    /// The exact duration is in the same bucket, and the result is interpolated in it, as if its
    /// durations were spread evenly. So the result is wrong by less than the width of the bucket.
    /// That is 67% for durations between 3 and 5 times a power of ten, 50% or less for others, and
    /// 10 us in the lowest bucket. Above 30 s the result is 30 s.
    #[must_use]
    pub fn quantile(&self, share: f64) -> Option<Duration> {
        let rank = share.clamp(0.0, 1.0) * self.count() as f64;
        // One that was read may have empty buckets, in which nothing can be interpolated.
        let filled = || self.buckets.iter().filter(|bucket| bucket.count > 0);
        let mut below = 0.0;
        for bucket in filled() {
            let count = bucket.count as f64;
            if below + count >= rank {
                let lower = lower_bound(bucket.bound());
                // Another program may have published any bound. A multiple of a very long duration
                // would overflow.
                let upper = bucket.up_to.unwrap_or(lower).min(BOUND[BOUNDS - 1]);
                let within = ((rank - below) / count).clamp(0.0, 1.0);
                return Some(lower + upper.saturating_sub(lower).mul_f64(within));
            }
            below += count;
        }
        filled().next_back().map(|last| lower_bound(last.bound()))
    }

    /// Adds the durations of another histogram.
    pub fn merge(&mut self, other: &Self) {
        self.sum = self.sum.saturating_add(other.sum);
        for bucket in &other.buckets {
            let at = self
                .buckets
                .binary_search_by_key(&bucket.bound(), HistogramBucket::bound);
            match at {
                Ok(at) => {
                    let count = &mut self.buckets[at].count;
                    *count = count.saturating_add(bucket.count);
                }
                Err(at) => self.buckets.insert(at, *bucket),
            }
        }
    }

    /// Returns the bounds that metrics have: 1, 2 and 5 times a power of ten, from 10 us to 20 s.
    pub fn exported_bounds() -> impl Iterator<Item = Duration> {
        BOUND.into_iter().step_by(2)
    }

    /// Returns the buckets that metrics have, one for each of the
    /// [`exported_bounds`](Self::exported_bounds) and a last one without a bound. Each exported
    /// bound is a bound of this histogram, so the counts are exact.
    #[must_use]
    pub fn exported(&self) -> Vec<HistogramBucket> {
        let bounds = Self::exported_bounds().map(Some).chain([None]);
        let mut exported: Vec<_> = bounds
            .map(|up_to| HistogramBucket { up_to, count: 0 })
            .collect();
        for bucket in &self.buckets {
            let at = exported.partition_point(|other| other.bound() < bucket.bound());
            if let Some(other) = exported.get_mut(at) {
                other.count = other.count.saturating_add(bucket.count);
            }
        }
        exported
    }
}

/// Returns the bound of the bucket below the one with this bound.
fn lower_bound(bound: Duration) -> Duration {
    let below = BOUND.partition_point(|other| *other < bound);
    below.checked_sub(1).map_or(Duration::ZERO, |at| BOUND[at])
}

#[cfg(test)]
mod tests;
