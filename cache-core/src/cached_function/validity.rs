//! Which entries, records and loads of a function are valid.
//!
//! A value is valid if its load began at or after the fences of its key and function. A fence is
//! raised by an invalidation on this instance, and by the messages of other instances. Messages can
//! be missed while the channel of a shared tier is down, so memory answers only while this instance
//! is [coherent](CachedFunction::coherent_now). Each shard of a shared tier has a channel, and a
//! key is under that of its own shard alone, which follows from its stripe.

use std::time::Duration;

use super::{CachedFunction, TierBinding};
use crate::clock::{Moment, Reading};
use crate::entry::Entry;
use crate::fence::Stripe;
use crate::function::options::WhenIsolated;
use crate::key::Key;
use crate::stale::StaleValue;
use crate::tier::Stamp;

impl CachedFunction {
    /// Returns the time if this instance knows every invalidation by other instances of the keys
    /// with this stripe that is older than the staleness bound, and `None` otherwise.
    ///
    /// This must be called before the fences are read: all that is known when it returns has raised
    /// them. If the fences were read first, an invalidation that arrives between the two would be
    /// missed.
    #[inline]
    pub(crate) fn coherent_now(&self, stripe: Stripe) -> Option<Moment> {
        if self.channels.is_empty() {
            return Some(self.state.clock.now());
        }
        let reading = Reading::now();
        let mut channels = self.channels.of(stripe).iter();
        let holds = channels.all(|one| one.holds_at(reading));
        holds.then(|| self.state.clock.at(reading))
    }

    /// Returns `true` if the entry has not expired and was not fenced off.
    #[inline]
    pub(crate) fn is_valid_entry(&self, entry: &Entry, now: Moment) -> bool {
        self.is_current_entry(entry) && entry.expires > now
    }

    /// Returns `true` if the entry was not fenced off.
    #[inline]
    pub(crate) fn is_current_entry(&self, entry: &Entry) -> bool {
        let fences = &self.state.fences;
        fences.is_current(entry.start, entry.stripe(), &self.fence)
    }

    /// Returns `true` if a caller whose load gives it no value may get this one instead, now.
    pub(crate) fn may_serve_stale(&self, stale: &StaleValue, key: &Key) -> bool {
        self.is_valid_stale(stale, key, self.times.stale_if_error)
    }

    /// Returns `true` if a caller may get this value at once, now, while a load in the background
    /// replaces it.
    pub(crate) fn may_serve_while_revalidating(&self, stale: &StaleValue, key: &Key) -> bool {
        self.is_valid_stale(stale, key, self.times.stale_while_revalidate)
    }

    /// Returns `true` if a value may be returned now that was fresh until some time ago: it is
    /// under the same fences and the same coherence as a fresh one.
    fn is_valid_stale(&self, stale: &StaleValue, key: &Key, window: Option<Duration>) -> bool {
        let stripe = self.stripe(key);
        let isolated_now = || self.serves_isolated(stripe).then(|| self.state.clock.now());
        let Some(now) = self.coherent_now(stripe).or_else(isolated_now) else {
            return false;
        };
        let fences = &self.state.fences;
        fences.is_current(stale.start, stripe, &self.fence)
            && now < stale.fresh_until.after(window.unwrap_or_default())
            && !self.is_strong()
    }

    /// Returns `true` if a call may join the load that has the number `start` and began at `began`.
    ///
    /// While the channel is down, invalidations by other instances raise no fence. Then the load
    /// must also be younger than the staleness bound, unless the function serves values while it is
    /// isolated.
    pub(crate) fn may_join(&self, key: &Key, start: u64, began: Moment) -> bool {
        let (fences, stripe) = (&self.state.fences, self.stripe(key));
        let is_known = || {
            self.channels.of(stripe).iter().all(|coherence| {
                coherence.holds()
                    || self.state.clock.now().since(began) < coherence.staleness_bound()
                    || self.serves_isolated(stripe)
            })
        };
        fences.is_current(start, stripe, &self.fence) && is_known()
    }

    /// Returns `true` if keys with this stripe may be answered with values that can be stale: their
    /// shard of a shared tier is not reachable, and the function asks to be served then.
    pub(crate) fn serves_isolated(&self, stripe: Stripe) -> bool {
        let digest = stripe.number().into();
        let mut lower = self.lower.iter();
        self.when_isolated == WhenIsolated::Serve
            && lower.any(|tier| tier.store.of(digest).is_cut_off())
    }

    pub(crate) fn when_isolated(&self) -> WhenIsolated {
        self.when_isolated
    }

    /// Returns `true` if the records of a tier are judged by the fences of this runtime: the tier
    /// is private, and the function also has a shared tier, through which other instances
    /// invalidate it.
    pub(crate) fn is_fenced_here(&self, tier: &TierBinding) -> bool {
        tier.is_private() && !self.channels.is_empty()
    }

    /// The stamp for a record in a tier that [is fenced here](Self::is_fenced_here), of a load that
    /// began at `start`. Such a tier receives no messages, so its records are judged like entries
    /// in memory: by the number of their load, and only while this runtime lives.
    fn stamp_of_load(&self, start: u64) -> Stamp {
        Stamp {
            epoch: start,
            history: self.state.run,
        }
    }

    /// The stamp for a record that is stored in a tier under a lease with the stamp `leased`, of a
    /// load that began at `start`.
    pub(crate) fn stamp_in(&self, tier: &TierBinding, leased: Stamp, start: u64) -> Stamp {
        match self.is_fenced_here(tier) {
            true => self.stamp_of_load(start),
            false => leased,
        }
    }

    /// Returns `true` if a record with this stamp is valid, in a tier that [is fenced
    /// here](Self::is_fenced_here). `is_coherent` says that this instance was coherent before the
    /// record was read.
    pub(crate) fn is_valid_stamp(&self, stamp: Stamp, key: &Key, is_coherent: bool) -> bool {
        let (fences, stripe) = (&self.state.fences, self.stripe(key));
        stamp.history == self.state.run
            && fences.is_current(stamp.epoch, stripe, &self.fence)
            && (is_coherent || self.serves_isolated(stripe))
    }
}
