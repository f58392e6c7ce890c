//! Sums of the statistics of several functions.

use super::load_times::LoadTimes;
use super::report::{
    ExpiriesByScope, FunctionStats, InvalidationsByScope, RefusedFills, TierStats, UncachedCalls,
};

/// Adds the fields of one struct to those of another of the same type. Each field is named, so that
/// a new one is not forgotten.
macro_rules! add_fields {
    ($kind:ident { $($field:ident),* $(,)? } $this:expr, $other:expr) => {{
        let $kind { $($field),* } = $other;
        $($this.$field = $this.$field.saturating_add(*$field);)*
    }};
}

impl FunctionStats {
    /// Adds the numbers of another function. Name and version stay as they are.
    pub(crate) fn merge(&mut self, other: &Self) {
        let Self {
            name: _,
            version: _,
            loads,
            load_errors,
            load_times,
            waits,
            invalidations,
            invalidations_by_scope,
            expiries,
            expiries_by_scope,
            tag_errors,
            key_errors,
            uncached,
            refreshes,
            refresh_errors,
            stale_on_error,
            backed_off,
            timeouts,
            abandoned,
            shed,
            absent_hits,
            error_hits,
            tiers,
        } = other;
        let numbers = [
            (&mut self.loads, loads),
            (&mut self.load_errors, load_errors),
            (&mut self.waits, waits),
            (&mut self.invalidations, invalidations),
            (&mut self.expiries, expiries),
            (&mut self.tag_errors, tag_errors),
            (&mut self.key_errors, key_errors),
            (&mut self.refreshes, refreshes),
            (&mut self.refresh_errors, refresh_errors),
            (&mut self.stale_on_error, stale_on_error),
            (&mut self.backed_off, backed_off),
            (&mut self.timeouts, timeouts),
            (&mut self.abandoned, abandoned),
            (&mut self.shed, shed),
            (&mut self.absent_hits, absent_hits),
            (&mut self.error_hits, error_hits),
        ];
        for (number, other) in numbers {
            *number = number.saturating_add(*other);
        }
        self.load_times.merge(load_times);
        add_fields!(InvalidationsByScope { key, function, pattern } self.invalidations_by_scope, invalidations_by_scope);
        add_fields!(ExpiriesByScope { key, function } self.expiries_by_scope, expiries_by_scope);
        add_fields!(UncachedCalls { recursive, impatient, blocking, no_runtime } self.uncached, uncached);
        for tier in tiers {
            match self
                .tiers
                .iter_mut()
                .find(|known| known.level == tier.level)
            {
                Some(known) => known.merge(tier),
                None => self.tiers.push(tier.clone()),
            }
        }
        self.tiers.sort_unstable_by_key(|tier| tier.level);
    }
}

impl TierStats {
    fn merge(&mut self, other: &Self) {
        let refused = &mut self.refused_fills;
        add_fields!(RefusedFills { lease, function, history, link, queued, guard, tags } refused, &other.refused_fills);
        let Self {
            level: _,
            hits,
            stale_hits,
            misses,
            decode_errors,
            mismatches,
            tier_errors,
            refused_fills: _,
            too_large,
            unwritable,
            lease_waits,
            isolated_hits,
            promotions,
        } = other;
        let numbers = [
            (&mut self.hits, hits),
            (&mut self.stale_hits, stale_hits),
            (&mut self.misses, misses),
            (&mut self.decode_errors, decode_errors),
            (&mut self.mismatches, mismatches),
            (&mut self.tier_errors, tier_errors),
            (&mut self.too_large, too_large),
            (&mut self.unwritable, unwritable),
            (&mut self.lease_waits, lease_waits),
            (&mut self.isolated_hits, isolated_hits),
            (&mut self.promotions, promotions),
        ];
        for (number, other) in numbers {
            *number = number.saturating_add(*other);
        }
    }
}

impl LoadTimes {
    fn merge(&mut self, other: &Self) {
        let Self {
            value,
            absent,
            error,
            cancelled,
        } = other;
        self.value.merge(value);
        self.absent.merge(absent);
        self.error.merge(error);
        self.cancelled.merge(cancelled);
    }
}
