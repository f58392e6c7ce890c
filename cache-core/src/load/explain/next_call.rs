//! The outcome of a call of a key, in the order of the steps of a call.

use std::sync::Arc;

use super::tier::{Found, Read};
use crate::cached_function::CachedFunction;
use crate::codec::ErasedType;
use crate::entry::Entry;
use crate::explanation::{NextCall, StaleReason};
use crate::function::options::WhenIsolated;
use crate::key::Key;
use crate::level::Level;
use crate::load::judge::Standing;
use crate::load::keep::outlasts;
use crate::load::read::StaleHit;
use crate::stale::StaleValue;
use crate::tier::LeaseMode;

/// The state of the lower tiers, as a call finds it.
#[derive(Default)]
pub(super) struct Reads(Vec<Read>);

impl Reads {
    pub(super) fn add(&mut self, read: Read) {
        self.0.push(read);
    }

    /// Returns `true` if a tier keeps a load in the background from running its body: another
    /// instance runs one, or the key is backed off.
    fn is_taken(&self) -> bool {
        self.0.iter().any(|read| {
            let is_held = read.lease.is_some_and(|lease| lease.exclusive);
            is_held || read.back_off.is_some()
        })
    }
}

/// The result of reading the lower tiers.
enum Lookup<'a> {
    Hit {
        at: usize,
        has_tags: bool,
        is_due: bool,
    },
    Stale(&'a StaleHit),
    Miss,
    Unavailable,
}

impl CachedFunction {
    pub(super) fn next_call(
        &self,
        key: &Key,
        kept: Option<&Entry>,
        reads: &Reads,
        value_type: &dyn ErasedType,
    ) -> NextCall {
        let found = self.found(reads);
        if self.is_strong() {
            return match found {
                Lookup::Hit { at, .. } => answered(self.lower[at].level, Vec::new(), None),
                Lookup::Stale(_) | Lookup::Miss | Lookup::Unavailable => {
                    self.load(key, reads, None, value_type)
                }
            };
        }
        let kept = kept.filter(|_| self.memory.is_some());
        if let Some(answered) = kept.and_then(|entry| self.answered_by(key, entry, reads)) {
            return answered;
        }
        if let Some(joined) = self.joined(key) {
            return joined;
        }
        let in_memory = kept.and_then(|entry| self.stale_kept(key, entry));
        let mut known = in_memory.as_ref().map(|stale| (Level::L1, stale.clone()));
        match found {
            Lookup::Hit {
                at,
                has_tags,
                is_due,
            } => {
                return NextCall::Answered {
                    by: self.lower[at].level,
                    copied_to: self.copied_to(key, (at, has_tags)),
                    stale: None,
                    begins_load: is_due && self.begins_load(key, None, reads),
                };
            }
            Lookup::Stale(hit) => {
                let found = self.stale_found(hit);
                // An entry that the found value replaces says nothing about loads.
                let staying =
                    kept.filter(|entry| outlasts(entry, &found) && self.is_unfenced(key, entry));
                let is_newer =
                    |(_, known): &(Level, StaleValue)| known.fresh_until > found.fresh_until;
                if !known.as_ref().is_some_and(is_newer) {
                    known = Some((self.lower[hit.at].level, found));
                }
                let mut value = known.iter().map(|(_, stale)| stale);
                if value.any(|stale| self.may_revalidate(stale, key)) {
                    let level = self.lower[hit.at].level;
                    return revalidated(level, self.begins_load(key, staying, reads));
                }
            }
            Lookup::Unavailable => {
                if let Some(isolated) = kept.and_then(|entry| self.served_isolated(key, entry)) {
                    return isolated;
                }
                if known
                    .as_ref()
                    .is_some_and(|(_, stale)| self.may_revalidate(stale, key))
                {
                    return revalidated(Level::L1, self.begins_load(key, kept, reads));
                }
            }
            Lookup::Miss => {}
        }
        self.load(key, reads, known, value_type)
    }

    fn found<'a>(&self, reads: &'a Reads) -> Lookup<'a> {
        let mut stale: Option<&StaleHit> = None;
        let mut is_unavailable = false;
        for (at, read) in reads.0.iter().enumerate() {
            match &read.found {
                &Found::Hit { has_tags, is_due } => {
                    return Lookup::Hit {
                        at,
                        has_tags,
                        is_due,
                    };
                }
                Found::Stale(hit) => {
                    let is_later = |other: &&StaleHit| hit.freshness.ends_after(other.freshness);
                    if stale.as_ref().is_none_or(is_later) {
                        stale = Some(hit);
                    }
                }
                Found::Unavailable => {
                    is_unavailable |= !self.is_fenced_here(&self.lower[at]);
                }
                Found::Nothing => {}
            }
        }
        match (is_unavailable, stale) {
            (true, _) => Lookup::Unavailable,
            (false, Some(hit)) => Lookup::Stale(hit),
            (false, None) => Lookup::Miss,
        }
    }

    /// Step 1: memory answers.
    fn answered_by(&self, key: &Key, entry: &Entry, reads: &Reads) -> Option<NextCall> {
        let now = self.coherent_now(entry.stripe())?;
        let is_current = self.is_unfenced(key, entry);
        let is_late = self.has_late_calls();
        match self.standing(entry, is_current, now, is_late) {
            Standing::Fresh(_) | Standing::Absent | Standing::Failed(_) => {
                Some(answered(Level::L1, Vec::new(), None))
            }
            Standing::Due(_) => Some(NextCall::Answered {
                by: Level::L1,
                copied_to: Vec::new(),
                stale: None,
                begins_load: self.begins_load(key, Some(entry), reads),
            }),
            Standing::Revalidated(_) => Some(revalidated(
                Level::L1,
                self.begins_load(key, Some(entry), reads),
            )),
            Standing::BackedOff(_) => Some(backed_off(Level::L1)),
            Standing::Void | Standing::Stopgap | Standing::Expired => None,
        }
    }

    fn is_unfenced(&self, key: &Key, entry: &Entry) -> bool {
        let dates = (entry.start(), entry.dated());
        self.fenced_by(dates, self.digest(key), entry.tags())
            .is_none()
    }

    /// Returns `true` if a call begins the load that replaces an entry, or a value that memory does
    /// not have yet, and this load neither ends at once nor waits for another one.
    fn begins_load(&self, key: &Key, kept: Option<&Entry>, reads: &Reads) -> bool {
        let now = self.state.clock.now();
        let retry = kept.and_then(Entry::retry);
        let may_claim = retry.is_none_or(|retry| retry.may_claim(now));
        may_claim && !reads.is_taken() && self.flight(key).is_none()
    }

    /// Step 2: the call joins a load.
    fn joined(&self, key: &Key) -> Option<NextCall> {
        let flight = self.flight(key)?;
        let may_serve = |stale: &StaleValue| self.may_revalidate(stale, key);
        if let Some(value) = flight.stale().filter(may_serve) {
            let level = self.lower.first().map_or(Level::L1, |tier| tier.level);
            return Some(match self.is_fresh(&value, key) {
                true => answered(level, Vec::new(), None),
                false => revalidated(level, false),
            });
        }
        // A blocked thread does not wait for a task, and what its own body returns is not kept.
        match self.is_blocking && flight.is_of_a_task() {
            true => Some(NextCall::Loads {
                is_kept: false,
                has_stale: false,
            }),
            false => Some(NextCall::Joins),
        }
    }

    fn may_revalidate(&self, stale: &StaleValue, key: &Key) -> bool {
        self.has_late_calls() && self.may_serve_while_revalidating(stale, key)
    }

    /// Returns the value in memory that callers may get if their load fails.
    fn stale_kept(&self, key: &Key, entry: &Entry) -> Option<StaleValue> {
        let is_current = self.is_unfenced(key, entry);
        self.stale_in(entry, is_current)
    }

    fn stale_found(&self, hit: &StaleHit) -> StaleValue {
        let start = hit.number.unwrap_or_else(|| self.state.fences.now());
        StaleValue {
            value: Arc::clone(&hit.value),
            start,
            dated: start,
            fresh_until: hit.freshness.end(self.state.clock.now()),
            is_expired: hit.is_expired,
            tags: hit.tags.clone(),
        }
    }

    /// Memory answers because the lower tiers are not reachable.
    fn served_isolated(&self, key: &Key, entry: &Entry) -> Option<NextCall> {
        match self.when_isolated() {
            WhenIsolated::Load => return None,
            WhenIsolated::Serve => {}
        }
        let now = self.state.clock.now();
        match self.isolated_standing(entry, self.is_unfenced(key, entry), now) {
            Standing::Fresh(_) | Standing::Due(_) | Standing::Absent | Standing::Failed(_) => {
                Some(answered(Level::L1, Vec::new(), None))
            }
            Standing::BackedOff(_) => Some(backed_off(Level::L1)),
            Standing::Revalidated(_) | Standing::Void | Standing::Stopgap | Standing::Expired => {
                None
            }
        }
    }

    /// Returns the tiers to which a value is copied that the tier at place `at` has.
    fn copied_to(&self, key: &Key, (at, has_tags): (usize, bool)) -> Vec<Level> {
        let (from, digest) = (&self.lower[at], self.digest(key));
        if !from.would_promote(digest) {
            return Vec::new();
        }
        let memory = self.has_memory().then_some(Level::L1);
        let above = self.lower[..at].iter().filter(|tier| {
            let into_private = !self.is_fenced_here(from) || tier.is_private();
            let takes_tags =
                self.is_fenced_here(tier) || tier.store.of(digest).tier.ledger().is_some();
            into_private && (!has_tags || takes_tags)
        });
        memory
            .into_iter()
            .chain(above.map(|tier| tier.level))
            .collect()
    }

    /// Steps 4 and 5: the call waits for a lease, or runs the body. `known` is the stale value that
    /// the call has, and the level that has it.
    fn load(
        &self,
        key: &Key,
        reads: &Reads,
        known: Option<(Level, StaleValue)>,
        value_type: &dyn ErasedType,
    ) -> NextCall {
        let stale = known.filter(|(_, stale)| self.may_serve_stale(stale, key));
        let writes = value_type.has_records() && self.records.can_be_written();
        let is_exclusive = writes && self.lease_mode() == LeaseMode::Exclusive;
        for (tier, read) in self.lower.iter().zip(&reads.0) {
            if matches!(read.found, Found::Unavailable) || !is_exclusive || read.is_guarded {
                continue;
            }
            let is_held = read.lease.is_some_and(|lease| lease.exclusive);
            if is_held && !self.is_blocking {
                return NextCall::Waits { level: tier.level };
            }
            if let (Some(_), Some((level, _))) = (read.back_off, &stale) {
                return backed_off(*level);
            }
        }
        let is_guarded = reads.0.iter().any(|read| read.is_guarded) || self.is_guarded_here(key);
        NextCall::Loads {
            is_kept: !is_guarded,
            has_stale: stale.is_some(),
        }
    }
}

fn answered(by: Level, copied_to: Vec<Level>, stale: Option<StaleReason>) -> NextCall {
    NextCall::Answered {
        by,
        copied_to,
        stale,
        begins_load: false,
    }
}

fn backed_off(by: Level) -> NextCall {
    answered(by, Vec::new(), Some(StaleReason::BackedOff))
}

fn revalidated(by: Level, begins_load: bool) -> NextCall {
    NextCall::Answered {
        by,
        copied_to: Vec::new(),
        stale: Some(StaleReason::Revalidated),
        begins_load,
    }
}
