//! Stale values: when they become so, and which calls get them.

use super::config::Protocol;
use super::load::{Age, Stale, Waiter};
use super::state::{Entry, Record, State};
use super::steps::{CopyOf, Wrong};

impl Protocol {
    /// Returns `true` if a stale value may be returned now.
    pub(super) fn may_serve_stale(&self, state: &State, at: u8, key: u8, stale: Stale) -> bool {
        let instance = &state.instances[usize::from(at)];
        let guards = &self.guards;
        let is_current = stale.start >= instance.fences[usize::from(key)];
        (is_current || !guards.stale_fence)
            && (self.may_answer(instance, state.now) || !guards.stale_coherence)
    }

    /// Returns `true` if calls get a stale value in place of a failed load.
    pub(super) fn serves_if_error(&self) -> bool {
        self.windows.is_some_and(|windows| windows.if_error)
    }

    /// A waiter returns the stale value: its load failed, or takes too long.
    pub(super) fn answer_waiter(&self, next: &mut State, at: u8) -> Result<(), Wrong> {
        let instance = &mut next.instances[usize::from(at)];
        let found = match instance.waiter.take() {
            Some(Waiter::HasStale { key, stale }) => Some((key, stale)),
            Some(Waiter::Waits { slot, .. }) => {
                let load = *instance.slot(slot);
                load.and_then(|load| Some((load.key, load.stale?)))
            }
            None => None,
        };
        let Some((key, stale)) = found else {
            return Ok(());
        };
        if self.guards.waiter_checks {
            self.returns_on_error(next, at, key, stale)?;
        } else if self.is_too_old(next, at, key, stale.version) {
            return Err(Wrong::StaleOnError);
        }
        Ok(())
    }

    /// Returns `true` if a caller gets this value in place of a failed load.
    pub(super) fn returns_on_error(
        &self,
        state: &State,
        at: u8,
        key: u8,
        stale: Stale,
    ) -> Result<bool, Wrong> {
        if !self.serves_if_error() || !self.may_serve_stale(state, at, key, stale) {
            return Ok(false);
        }
        match self.is_too_old(state, at, key, stale.version) {
            true => Err(Wrong::StaleOnError),
            false => Ok(true),
        }
    }

    /// Lets the time of one copy pass.
    pub(super) fn age(&self, next: &mut State, copy: CopyOf) {
        match copy {
            CopyOf::Record(key) => {
                let record = &mut next.primary.records[usize::from(key)];
                *record = record.and_then(|record| {
                    let age = self.next_age(record.age)?;
                    Some(Record { age, ..record })
                });
            }
            CopyOf::Entry(at, key) => {
                let entry = &mut next.instances[usize::from(at)].memory[usize::from(key)];
                *entry = entry.and_then(|entry| {
                    let age = self.next_age(entry.age)?;
                    Some(Entry { age, ..entry })
                });
            }
        }
    }

    /// Returns the age after this one. `None` if the value is too old then.
    fn next_age(&self, age: Age) -> Option<Age> {
        let windows = self.windows?;
        let revalidate = windows.revalidates.then_some(Age::Revalidate);
        let if_error = windows.if_error.then_some(Age::IfError);
        match age {
            Age::Fresh => revalidate.or(if_error),
            Age::Revalidate => if_error,
            Age::IfError => None,
        }
    }
}
