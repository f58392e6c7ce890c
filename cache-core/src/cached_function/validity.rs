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
use crate::fence::{Stripe, TagStripes};
use crate::flight::FlightView;
use crate::function::options::WhenIsolated;
use crate::key::{Key, KeyRef};
use crate::reason::{FencedBy, Outdated};
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

    /// Returns `true` if the entry of a key has not expired and was not fenced off.
    #[inline]
    pub(crate) fn is_valid_entry(&self, key: &KeyRef<'_>, entry: &Entry, now: Moment) -> bool {
        entry.expires > now && self.is_current_entry(key, entry)
    }

    /// Returns `true` if the entry of a key was not fenced off.
    #[inline]
    pub(crate) fn is_current_entry(&self, key: &KeyRef<'_>, entry: &Entry) -> bool {
        let (fences, stripe, dated) = (&self.state.fences, entry.stripe(), entry.dated());
        (fences.admits(dated, stripe) || self.date_up(key, dated))
            && fences.is_current_for_function(entry.start(), stripe, &self.fence)
            && (entry.is_plain() || self.admits_tags_of(entry))
    }

    /// Returns `true` if no tag of an entry was invalidated since its load. Not inlined, so that an
    /// entry without tags costs a hit no more than the look at its bit.
    #[inline(never)]
    fn admits_tags_of(&self, entry: &Entry) -> bool {
        entry.is_confirmed(self.state.fences.changes()) || self.compare_tags_of(entry)
    }

    /// Compares the tags of an entry with their fences. A value that is valid and not stale is
    /// confirmed, so that the next hit need not compare them.
    #[cold]
    #[inline(never)]
    fn compare_tags_of(&self, entry: &Entry) -> bool {
        let admits = || self.admits_tags(entry.start(), entry.tags());
        let is_fresh = || admits() && !(self.has_window() && self.was_expired(entry));
        entry.confirm(self.state.fences.changes(), is_fresh) || admits()
    }

    /// Returns `true` if no tag of a value was invalidated since its load began at `start`. A
    /// function without stale values also drops what was expired.
    pub(crate) fn admits_tags(&self, start: u64, tags: &TagStripes) -> bool {
        let fences = &self.state.fences;
        fences.admits_tags(start, tags)
            && (self.has_window() || !fences.are_tags_expired(start, tags))
    }

    /// Returns what has voided a value of the key with this digest, whose load began at `start` and
    /// which is dated `dated`; `None` if nothing has. Unlike
    /// [`is_current_entry`](Self::is_current_entry) this changes nothing.
    pub(crate) fn fenced_by(
        &self,
        (start, dated): (u64, u64),
        digest: u64,
        tags: &TagStripes,
    ) -> Option<FencedBy> {
        let (fences, stripe) = (&self.state.fences, Stripe::of(digest));
        if !fences.is_current_for_function(start, stripe, &self.fence) {
            Some(FencedBy::Function)
        } else if !fences.admits(dated, stripe) && fences.date_up(dated, digest).is_none() {
            Some(FencedBy::Key)
        } else {
            (!self.admits_tags(start, tags)).then_some(FencedBy::Tag)
        }
    }

    /// Returns `true` if the value of an entry is stale whatever its time: it was expired since its
    /// load began, alone, with its function, or with a tag of it.
    #[inline]
    pub(crate) fn is_expired_entry(&self, entry: &Entry) -> bool {
        let may_be = !entry.is_plain() || self.state.fences.has_expiry_after(entry.start());
        may_be && self.is_expired_entry_further(entry)
    }

    #[inline(never)]
    fn is_expired_entry_further(&self, entry: &Entry) -> bool {
        let is_confirmed = || entry.is_confirmed(self.state.fences.changes());
        self.has_window() && !is_confirmed() && self.was_expired(entry)
    }

    fn was_expired(&self, entry: &Entry) -> bool {
        entry.is_expired() || self.is_expired(entry.start(), entry.stripe(), entry.tags())
    }

    /// Returns `true` if a key with this stripe, the function, or one of these tags was expired
    /// since a load began at `start`.
    pub(crate) fn is_expired(&self, start: u64, key: Stripe, tags: &TagStripes) -> bool {
        let fences = &self.state.fences;
        fences.is_expired(start, key, self.key.digest) || fences.are_tags_expired(start, tags)
    }

    /// Returns `true` if a caller that waited for a flight may take its result: no tag of the
    /// result was invalidated or expired since its load began. Whether the caller began after that
    /// is not known, so it is treated as one that did.
    pub(crate) fn may_take(&self, flight: &FlightView) -> bool {
        let (start, tags) = flight.start_and_tags();
        let fences = &self.state.fences;
        fences.admits_tags(start, &tags) && !fences.are_tags_expired(start, &tags)
    }

    /// Returns `true` if a key was not invalidated after `dated`, and dates its entry up, so that
    /// the next hit need not ask again.
    ///
    /// Whichever entry the key has by then: that the key was not invalidated is true of each.
    #[cold]
    #[inline(never)]
    fn date_up(&self, key: &KeyRef<'_>, dated: u64) -> bool {
        let digest = self.records.digest(key) as u64;
        let Some(until) = self.state.fences.date_up(dated, digest) else {
            return false;
        };
        if let Some(memory) = self.state.memory() {
            memory.date_up(key, dated, until);
        }
        true
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
        let dates = (stale.start, stale.dated);
        let fenced = self.fenced_by(dates, self.digest(key), &stale.tags);
        fenced.is_none() && self.is_in_window(stale, stripe, window, now) && !self.is_strong()
    }

    /// Returns `true` if a value may be returned at `now` as far as time decides. Without a window
    /// it may until the end of its freshness, unless it was expired.
    fn is_in_window(
        &self,
        stale: &StaleValue,
        stripe: Stripe,
        window: Option<Duration>,
        now: Moment,
    ) -> bool {
        match window {
            Some(window) => now < stale.fresh_until.after(window),
            None => {
                now < stale.fresh_until
                    && !stale.is_expired
                    && !self.is_expired(stale.start, stripe, &stale.tags)
            }
        }
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
        // A value of before an expiry is stale, also for the callers that would wait for it.
        let is_expired = || {
            self.has_window()
                && fences.has_expiry_after(start)
                && fences.is_expired(start, stripe, self.key.digest)
        };
        fences.is_current(start, self.digest(key), &self.fence) && !is_expired() && is_known()
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

    /// Checks a record with this stamp, in a tier that [is fenced here](Self::is_fenced_here).
    /// `is_coherent` says that this instance was coherent before the record was read.
    ///
    /// # Errors
    /// The record is not valid, for this reason.
    pub(crate) fn check_stamp(
        &self,
        stamp: Stamp,
        key: &Key,
        is_coherent: bool,
    ) -> Result<(), Outdated> {
        if stamp.history != self.state.run {
            return Err(Outdated::OtherHistory);
        }
        let (dates, untagged) = ((stamp.epoch, stamp.epoch), TagStripes::NONE);
        if let Some(by) = self.fenced_by(dates, self.digest(key), untagged) {
            return Err(Outdated::FencedOff(by));
        }
        match is_coherent || self.serves_isolated(self.stripe(key)) {
            true => Ok(()),
            false => Err(Outdated::NotCoherent),
        }
    }
}
