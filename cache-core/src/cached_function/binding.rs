//! A tier below memory as one function uses it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::error::Error;
use crate::function::plan::PlannedTier;
use crate::function::times::shortened;
use crate::level::Level;
use crate::record::{Header, RecordKind};
use crate::stats::{TierCounters, TierStats};
use crate::tier::config::{Lives, Promotion, TierConfig};
use crate::tier::store::Store;

/// The jitter of lives in the lower tiers, for a function that sets none.
const DEFAULT_JITTER: u8 = 5;

/// A tier below memory as one function uses it: how long values live there, and what was counted.
#[derive(Debug)]
pub(crate) struct TierBinding {
    pub(crate) level: Level,
    pub(crate) store: Arc<Store>,
    config: TierConfig,
    lives: Lives,
    promotion: Promotion,
    hits_by_key: HitsByKey,
    /// The largest part of a life by which it is shortened, in percent.
    jitter: u8,
    pub(crate) counters: TierCounters,
}

impl TierBinding {
    pub(super) fn new(planned: PlannedTier, jitter: Option<u8>) -> Self {
        let PlannedTier { config, store, ttl } = planned;
        Self {
            level: config.level(),
            store,
            config,
            lives: config.lives(ttl),
            promotion: config.promotes(),
            hits_by_key: HitsByKey::new(config.promotes()),
            jitter: jitter.unwrap_or(DEFAULT_JITTER),
            counters: TierCounters::default(),
        }
    }

    /// How long the record of a loaded or put value lives. `ttl` is the value's own ttl, if it has
    /// one.
    pub(crate) fn life(&self, digest: u64, ttl: Option<Duration>) -> Duration {
        let lives = ttl.map_or(self.lives, |ttl| self.config.lives(ttl));
        shortened(lives.filled, self.jitter, digest)
    }

    /// How long the record lives that says that there is no value. The scale of the tier is for
    /// values, and the jitter is for all records.
    pub(crate) fn life_of_absence(&self, digest: u64, none_ttl: Duration) -> Duration {
        shortened(none_ttl, self.jitter, digest)
    }

    /// How long a copy of a record lives that has `left` until it expires.
    pub(crate) fn life_of_copy(&self, digest: u64, left: Duration) -> Duration {
        shortened(self.lives.copied, self.jitter, digest).min(left)
    }

    /// The longest time that a copy of a record may live. `left` is what is left of the record's
    /// life, which can be longer than the value is fresh: a tier's ttl scale extends it.
    pub(crate) fn left_for_copies(&self, header: &Header, left: Duration) -> Duration {
        match header.kind {
            // A copy was given no more than its source had left. The time for which there is no
            // value is not scaled.
            RecordKind::Copy | RecordKind::Absent => left,
            RecordKind::Value | RecordKind::Nothing => {
                left.min(self.config.ttl_of(Duration::from_millis(header.life)))
            }
        }
    }

    pub(super) fn stats(&self) -> TierStats {
        self.counters.snapshot(self.level)
    }

    /// Returns `true` if a value that was found now is to be copied to the tiers above. `digest` is
    /// the key's.
    pub(crate) fn promotes(&self, digest: u64) -> bool {
        match self.promotion {
            Promotion::Always => true,
            Promotion::Never => false,
            Promotion::OneIn(times) => self.hits_by_key.add_one(digest).is_multiple_of(times),
        }
    }

    /// Returns `true` if [`promotes`](Self::promotes) would now, without counting.
    pub(crate) fn would_promote(&self, digest: u64) -> bool {
        match self.promotion {
            Promotion::Always => true,
            Promotion::Never => false,
            Promotion::OneIn(times) => self.hits_by_key.next(digest).is_multiple_of(times),
        }
    }

    /// How long a loaded value lives in the tier before jitter.
    pub(crate) fn ttl(&self) -> Duration {
        self.lives.filled
    }

    /// Returns `true` if this instance alone uses the tier.
    pub(crate) fn is_private(&self) -> bool {
        !self.store.is_shared()
    }

    /// Counts and logs an operation that failed.
    pub(crate) fn failed(&self, operation: &'static str, function: &str, error: &Error) {
        self.counters.tier_errors.add_one();
        let (level, kind) = (self.level, self.store.settings().kind);
        tracing::debug!(target: "multi_tier_cached::tier", tier = %level, kind, operation, function, error = ?error, "an operation of a tier failed");
    }
}

/// Hits in a tier, for [`Promotion::OneIn`]. They are counted apart for different keys, as far as
/// there are counters. With one counter, two keys that are read in turn would take each other's
/// share.
#[derive(Debug)]
struct HitsByKey(Box<[AtomicU32]>);

impl HitsByKey {
    const COUNTERS: usize = 256;

    /// Without counters if the promotion does not need them.
    fn new(promotion: Promotion) -> Self {
        let counters = match promotion {
            Promotion::OneIn(_) => Self::COUNTERS,
            Promotion::Always | Promotion::Never => 0,
        };
        Self((0..counters).map(|_| AtomicU32::new(0)).collect())
    }

    /// Returns the number of the next hit, or 0 if hits are not counted.
    fn next(&self, digest: u64) -> u32 {
        let counter = self.0.get(digest as usize % Self::COUNTERS);
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed).wrapping_add(1))
    }

    /// Counts a hit. Returns its number, or 0 if hits are not counted.
    fn add_one(&self, digest: u64) -> u32 {
        let counter = self.0.get(digest as usize % Self::COUNTERS);
        counter.map_or(0, |counter| {
            counter.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn promotion_counts_hits_of_different_keys_apart() {
        let hits = HitsByKey::new(Promotion::OneIn(2));
        for number in 1..=4 {
            for digest in [7, 8] {
                assert_eq!(hits.add_one(digest), number);
            }
        }
        assert!(HitsByKey::new(Promotion::Always).0.is_empty());
    }
}
