//! Step 6: the value is kept in memory. [`negative`](super::negative) keeps results that are no
//! values.

use std::sync::Arc;
use std::time::Duration;

use super::read::TierHit;
use super::{Held, TierVisits};
use crate::cached_function::CachedFunction;
use crate::codec::ErasedType;
use crate::entry::{Content, Entry, KnownRecord};
use crate::fence::{Stripe, TagStripes};
use crate::function::times::shortened;
use crate::key::Key;
use crate::record::Etag;
use crate::stale::StaleValue;
use crate::tier::config::Lives;

/// How much the end of freshness of one value can differ between memory and a record: both clocks
/// are read at different moments, and times of records are in milliseconds.
const CLOCK_ERROR: Duration = Duration::from_secs(1);

impl CachedFunction {
    /// Keeps a value that was loaded now and whose load took `took`, unless its key is guarded.
    /// Returns `true` if memory has it.
    pub(super) fn keep_loaded(
        &self,
        (held, took): (&Held, Duration),
        start: u64,
        visits: &TierVisits<'_>,
        value_type: &dyn ErasedType,
    ) -> bool {
        let key = &*visits.key;
        if visits.is_guarded || self.is_guarded_here(key) {
            return false;
        }
        let (Some((lives, _)), Some((config, _))) = (&self.memory, &self.state.memory) else {
            return false;
        };
        let lives = visits.ttl.map_or(*lives, |ttl| config.lives(ttl));
        let life = self.life_in_memory(key, lives.filled);
        let value = (Some(held), value_type);
        let entry = self.entry(key, value, (start, &visits.tag_stripes()), (life, took));
        self.insert(key, entry.map(|entry| stopgap(entry, visits)))
    }

    /// Keeps a result that a lower tier has, unless a fence was raised since its load began at
    /// `start`. Readers check that again: the check here only spares a newer entry from being
    /// replaced by one that no call reads.
    pub(super) fn keep_found(
        &self,
        key: &Key,
        hit: &TierHit,
        start: u64,
        value_type: &dyn ErasedType,
    ) {
        if let Some((lives, _)) = &self.memory {
            let life = self.life_of_copy(key, hit, *lives);
            let start = hit.number.unwrap_or(start);
            let value = (hit.value.as_ref(), value_type);
            let entry = self.entry(key, value, (start, &hit.tags), (life, hit.load));
            self.insert(key, entry);
        }
    }

    /// Keeps a stale value that a lower tier has, so that the next call finds it without reading
    /// the tier. It stays as stale as it is.
    ///
    /// A value in memory stays there if it was fresh for as long: it may be the same one, and its
    /// entry knows how many loads have failed. It also stays if a strong call found it after the
    /// load of the other one began.
    ///
    /// `is_expired` says that it is stale because it was expired.
    pub(super) fn keep_stale(
        &self,
        key: &Key,
        found: &StaleValue,
        is_expired: bool,
        value_type: &dyn ErasedType,
    ) {
        let (Some(_), Some(memory)) = (&self.memory, self.state.memory()) else {
            return;
        };
        let Some(stripe) = self.stripe_of_current(key, (found.start, &found.tags)) else {
            return;
        };
        let weight = value_type.weight(&found.value, memory.weighs);
        let value = Arc::clone(&found.value);
        let entry = Entry::new(value, found.start, stripe, found.fresh_until, weight);
        let entry = entry.with_tags(&found.tags);
        let entry = if is_expired { entry.expired() } else { entry };
        let kept = self.kept(key);
        let stays =
            |kept: &Entry| outlasts(kept, found) && self.is_current_entry(&key.as_ref(), kept);
        if !kept.as_ref().is_some_and(stays) {
            self.insert_in_place_of(key, kept.as_ref(), entry);
        }
    }

    /// Returns the value in memory with its record in the highest lower tier, which
    /// tells whether the value is still valid.
    pub(super) fn known(&self, key: &Key) -> Option<(KnownRecord, Held)> {
        let entry = self.kept(key)?;
        // A tier is asked for its own record only.
        let record = entry.record().filter(|record| record.at == 0)?;
        Some((record.clone(), Arc::clone(entry.held()?)))
    }

    /// Keeps a result that a call found outside the flights, which began at `start`: a strong call,
    /// a peek, or a batch of a function without memory.
    ///
    /// No later call returns an older value: it joins no load that began before, and memory keeps
    /// the result whatever the promotion. A strong function, each call of which reads the tier,
    /// keeps it as the tier promotes, or to replace the record `known`.
    pub(super) fn keep_direct_read(
        &self,
        key: &Key,
        hit: &TierHit,
        start: u64,
        known: Option<Etag>,
        value_type: &dyn ErasedType,
    ) {
        let lives = if self.is_strong() {
            let is_kept = hit.is_promoted || known.is_some();
            let found = hit.record.as_ref().map(|record| (record.at, record.etag));
            let is_another = found != known.map(|etag| (0, etag));
            self.strong_memory.filter(|_| is_kept && is_another)
        } else {
            self.memory.as_ref().map(|(lives, _)| *lives)
        };
        let answered = self.state.fences.next();
        if !self.is_strong() {
            self.state.flights.outdate(key, answered);
            // A private tier above has a record that may be older, and answers calls that are not
            // strong.
            if hit.passed_record {
                self.drop_from_memory(key);
                return;
            }
        }
        let Some(lives) = lives else { return };
        let life = self.life_of_copy(key, hit, lives);
        let value = (hit.value.as_ref(), value_type);
        let entry = self.entry(key, value, (start, &hit.tags), (life, hit.load));
        let entry = entry.map(|entry| entry.strong_read(hit.record.clone(), answered));
        if self.insert(key, entry) {
            return;
        }
        // Another call put its value into memory while this one ran. It is not known which of the
        // two values is newer, so memory keeps neither.
        let id = |record: Option<&KnownRecord>| record.map(|record| (record.at, record.etag));
        let found = id(hit.record.as_ref());
        let is_other = |kept: Entry| found.is_none() || id(kept.record()) != found;
        // If memory has none, an older flight may be about to keep its value.
        if self.kept(key).is_none_or(is_other) {
            self.drop_from_memory(key);
        }
    }

    /// Keeps calls that begin later from joining the flight of a guarded key: a load beside it has
    /// returned a value that nothing keeps, and the flight may have read an older one.
    pub(super) fn outdate_flight(&self, key: &Key) {
        self.state.flights.outdate(key, self.state.fences.next());
    }

    /// Drops a key's value from memory if it was loaded before `start`: a strong call that began
    /// then has loaded another value, which may not have been kept.
    pub(super) fn drop_older(&self, key: &Key, start: u64) {
        let is_older = |kept: Entry| kept.known_from() < start;
        if self.has_memory() && self.kept(key).is_some_and(is_older) {
            self.drop_from_memory(key);
        }
    }

    /// Drops a key's result from memory unless it is `held`, or is no value if `held` is `None`:
    /// that result has replaced the one in the lower tiers, and a strong call may have read the
    /// other one before that, and kept it.
    pub(super) fn drop_others(&self, key: &Key, held: Option<&Held>) {
        let is_other = |kept: Entry| match (kept.held(), held) {
            (Some(kept), Some(held)) => !Arc::ptr_eq(kept, held),
            (kept, held) => kept.is_some() != held.is_some(),
        };
        if self.has_memory() && self.kept(key).is_some_and(is_other) {
            self.drop_from_memory(key);
        }
    }

    /// The entry that memory has of a key, valid or not.
    pub(super) fn kept(&self, key: &Key) -> Option<Entry> {
        self.state.memory()?.peek(&key.as_ref())
    }

    /// How long a result is kept in memory whose life is `life` before jitter.
    pub(super) fn life_in_memory(&self, key: &Key, life: Duration) -> Duration {
        match self.times.jitter {
            None => life,
            Some(percent) => shortened(life, percent, self.digest(key)),
        }
    }

    /// How long a copy of a record is kept in memory.
    fn life_of_copy(&self, key: &Key, hit: &TierHit, lives: Lives) -> Duration {
        let longest = match hit.value {
            Some(_) => lives.copied,
            None => self.times.none_ttl.unwrap_or_default(),
        };
        self.life_in_memory(key, longest).min(hit.left)
    }

    /// Returns how long before its end a value is due that lives for `life` and whose load took
    /// `load`, by a draw for this value. `None` if it is not loaded ahead.
    pub(super) fn refresh_gap(&self, life: Duration, load: Duration) -> Option<Duration> {
        let gap = self.times.refresh_ahead?.gap(life, load, fastrand::f64());
        (!gap.is_zero()).then_some(gap)
    }

    /// Returns the stripe of a key, if a result with these tags is valid whose load began at
    /// `start`.
    pub(super) fn stripe_of_current(
        &self,
        key: &Key,
        (start, tags): (u64, &TagStripes),
    ) -> Option<Stripe> {
        let digest = self.digest(key);
        let is_current = self.state.fences.is_current(start, digest, &self.fence)
            && self.admits_tags(start, tags);
        is_current.then(|| Stripe::of(digest))
    }

    /// Makes an entry of a value, or of the result that there is none, whose load began at `start`
    /// and took `load`. `None` if no call would read it.
    fn entry(
        &self,
        key: &Key,
        (held, value_type): (Option<&Held>, &dyn ErasedType),
        (start, tags): (u64, &TagStripes),
        (life, load): (Duration, Duration),
    ) -> Option<Entry> {
        let memory = self.state.memory()?;
        let stripe = self.stripe_of_current(key, (start, tags))?;
        let expires = self.state.clock.now().after(life);
        let Some(held) = held else {
            let entry = Entry::without_value(Content::Absent, start, stripe, expires);
            return Some(entry.with_tags(tags));
        };
        let weight = value_type.weight(held, memory.weighs);
        let entry = Entry::new(Arc::clone(held), start, stripe, expires, weight);
        let entry = entry.with_tags(tags);
        Some(match self.refresh_gap(life, load) {
            None => entry,
            Some(gap) => entry.due_before_end(gap),
        })
    }

    /// Inserts an entry, unless another caller has replaced `kept`, which memory had before.
    pub(super) fn insert_in_place_of(&self, key: &Key, kept: Option<&Entry>, entry: Entry) -> bool {
        match (kept, self.state.memory()) {
            (Some(kept), Some(memory)) => memory.replace(key.clone(), kept, entry),
            (_, _) => self.insert(key, Some(entry)),
        }
    }

    pub(super) fn insert(&self, key: &Key, entry: Option<Entry>) -> bool {
        match (entry, self.state.memory()) {
            (Some(entry), Some(memory)) => {
                memory.insert(key.clone(), entry, self.state.clock.now())
            }
            (None, _) | (_, None) => false,
        }
    }
}

/// Returns `true` if an entry that is current stays in memory beside a stale value that a lower
/// tier has, which may be older.
pub(super) fn outlasts(kept: &Entry, found: &StaleValue) -> bool {
    kept.known_from() > found.start || found.fresh_until <= kept.fresh_until().after(CLOCK_ERROR)
}

/// Marks an entry as one for isolated calls, if a tier could not tell whether its key is guarded.
pub(super) fn stopgap(entry: Entry, visits: &TierVisits<'_>) -> Entry {
    match visits.guard_is_unknown {
        true => entry.isolated_only(),
        false => entry,
    }
}
