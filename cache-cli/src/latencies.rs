//! How long operations took.

use std::time::Duration;

/// The bits of a time that a bucket tells apart: its bounds differ by 1.6 % at most.
const BITS: u32 = 6;

/// The number of buckets for all times of 64 bits.
const BUCKETS: usize = (64 - BITS as usize + 1) << BITS;

/// Times in nanoseconds, in buckets. Their number does not depend on how many times are recorded.
#[derive(Clone, Debug)]
pub(crate) struct Latencies {
    buckets: Vec<u64>,
    count: u64,
    max: Duration,
}

impl Default for Latencies {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            max: Duration::ZERO,
        }
    }
}

impl Latencies {
    pub(crate) fn record(&mut self, took: Duration) {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanos)] += 1;
        self.count += 1;
        self.max = self.max.max(took);
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        for (one, other) in self.buckets.iter_mut().zip(&other.buckets) {
            *one += other;
        }
        self.count += other.count;
        self.max = self.max.max(other.max);
    }

    pub(crate) fn count(&self) -> u64 {
        self.count
    }

    /// Returns a time that `percent` percent of the times do not exceed: the upper bound of its
    /// bucket. Zero if there is none.
    pub(crate) fn percentile(&self, percent: u64) -> Duration {
        let rank = (u128::from(self.count) * u128::from(percent)).div_ceil(100);
        let mut before = 0;
        for (at, number) in self.buckets.iter().enumerate() {
            before += u128::from(*number);
            if before >= rank.max(1) {
                return Duration::from_nanos(last_of(at)).min(self.max);
            }
        }
        Duration::ZERO
    }

    /// Returns the median, the 99th percentile and the maximum; `None` if there is no time.
    pub(crate) fn summary(&self) -> Option<[Duration; 3]> {
        let summary = [self.percentile(50), self.percentile(99), self.max];
        (self.count > 0).then_some(summary)
    }
}

/// Returns the bucket of a time: the place of its highest bit, and the [`BITS`] bits after that.
fn bucket(nanos: u64) -> usize {
    let shift = (u64::BITS - nanos.leading_zeros()).saturating_sub(BITS + 1);
    ((shift as usize) << BITS) + (nanos >> shift) as usize
}

/// Returns the longest time of a bucket.
fn last_of(bucket: usize) -> u64 {
    // A time below `2 << BITS` has a bucket of its own.
    let shift = (bucket >> BITS).saturating_sub(1);
    let first = (bucket - (shift << BITS)) as u64;
    (first << shift) + ((1 << shift) - 1)
}

/// Returns a time in milliseconds.
pub(crate) fn millis(time: Duration) -> f64 {
    time.as_nanos() as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bucket_of_any_time_has_it_and_is_narrow() {
        let mut times: Vec<u64> = (0..10_000).collect();
        times.extend((0..64).flat_map(|bit| {
            let power = 1_u64 << bit;
            [power - 1, power, power + power / 3]
        }));
        times.push(u64::MAX);
        times.sort_unstable();
        for pair in times.windows(2) {
            assert!(bucket(pair[0]) <= bucket(pair[1]), "{pair:?}");
        }
        for time in times {
            let last = last_of(bucket(time));
            assert!(last >= time && last - time <= time >> BITS, "{time} {last}");
            assert!(bucket(time) < BUCKETS, "{time}");
        }
    }

    #[test]
    fn percentiles_are_those_of_the_sorted_times() {
        let mut all = Latencies::default();
        assert_eq!((all.percentile(50), all.summary()), (Duration::ZERO, None));
        for micros in 1..=100 {
            let mut one = Latencies::default();
            one.record(Duration::from_micros(micros));
            all.merge(&one);
        }
        for (percent, micros) in [(1, 1.0), (50, 50.0), (99, 99.0), (100, 100.0)] {
            let found = millis(all.percentile(percent)) * 1e3;
            assert!(
                found >= micros && found <= micros * 1.02,
                "{percent} {found}"
            );
        }
        assert_eq!((all.count(), all.max), (100, Duration::from_micros(100)));
    }
}
