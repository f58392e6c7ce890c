//! Steps of a call: it is answered from memory or from a record, joins a load, or takes a lease.

use super::config::Protocol;
use super::lease::Answer;
use super::load::{Age, Load, Slot, Stage, Stale, Waiter};
use super::state::{Link, State};
use super::steps::{Mode, Wrong};

impl Protocol {
    /// Answers a call from memory or from a record, or takes a lease for it.
    pub(super) fn call(&self, mut next: State, at: u8, key: u8) -> Result<Option<State>, Wrong> {
        let instance = &next.instances[usize::from(at)];
        if let Some(entry) = instance.memory[usize::from(key)]
            && (!self.guards.fence || entry.start >= instance.fences[usize::from(key)])
            && (!self.needs_coherence(entry.age) || self.may_answer(instance, next.now))
        {
            if self.is_too_old(&next, at, key, entry.version) {
                return Err(Wrong::StaleFromMemory);
            }
            match entry.age {
                Age::Fresh => return Ok(None),
                Age::Revalidate => {
                    let has_changed = next.begin_in_background(at, key);
                    return Ok(has_changed.then(|| self.canonical(next)));
                }
                // It is returned at once while the key is backed off. Otherwise the call loads.
                Age::IfError => {}
            }
        }
        if self.may_join(&next, at, Slot::Background, key) {
            let has_changed = self.join(&mut next, at, Slot::Background);
            return Ok(has_changed.then(|| self.canonical(next)));
        }
        self.ask_for_call(next, at, key)
    }

    /// Reads the record on behalf of a call, or takes a lease.
    fn ask_for_call(&self, mut next: State, at: u8, key: u8) -> Result<Option<State>, Wrong> {
        let instance = &next.instances[usize::from(at)];
        let (Link::Up { server }, start) = (instance.link, instance.raised) else {
            return Ok(None);
        };
        let mut load = Load::new(key, start, Stage::Begun);
        load.stale = self.stale_in_memory(&next, at, key);
        let Some(record) = self.valid_record(&mut next, at, server, key) else {
            return self.lease_for_call(next, at, load);
        };
        let (version, age) = (record.version, record.age);
        let stale = Stale { version, start };
        match age {
            Age::Fresh => {}
            Age::Revalidate if self.may_serve_stale(&next, at, key, stale) => {}
            Age::Revalidate | Age::IfError => {
                load.stale = load.stale.or(Some(stale));
                return self.lease_for_call(next, at, load);
            }
        }
        if self.is_too_old(&next, at, key, version) {
            return Err(Wrong::StaleFromServer);
        }
        load.stage = Stage::Read { version, age };
        load.stale = None;
        next.instances[usize::from(at)].load = Some(load);
        Ok(Some(self.canonical(next)))
    }

    /// Takes the lease for the load of a call, or answers the call with the stale value while the
    /// key is backed off.
    fn lease_for_call(
        &self,
        mut next: State,
        at: u8,
        mut load: Load,
    ) -> Result<Option<State>, Wrong> {
        let key = load.key;
        let mode = match load.stale {
            Some(_) => Mode::Refresh,
            None => Mode::Exclusive,
        };
        let mut answer = self.lease(&mut next, at, key, mode)?;
        if let (Answer::BackedOff, Some(stale)) = (answer, load.stale) {
            if self.returns_on_error(&next, at, key, stale)? {
                return Ok(None);
            }
            answer = self.lease(&mut next, at, key, Mode::Exclusive)?;
        } else {
            load.is_refresh = load.stale.is_some();
        }
        let Answer::Granted(lease) = answer else {
            return Ok(None);
        };
        let instance = &mut next.instances[usize::from(at)];
        let link = instance.links;
        load.stage = Stage::Leased {
            lease: Some(lease),
            link,
        };
        instance.load = Some(load);
        Ok(Some(self.canonical(next)))
    }

    /// Takes a lease for a call that uses no value of others.
    pub(super) fn call_as(
        &self,
        mut next: State,
        at: u8,
        key: u8,
        mode: Mode,
    ) -> Result<Option<State>, Wrong> {
        let Answer::Granted(lease) = self.lease(&mut next, at, key, mode)? else {
            return Ok(None);
        };
        let instance = &mut next.instances[usize::from(at)];
        let (link, lease) = (instance.links, Some(lease));
        let stage = Stage::Leased { lease, link };
        instance.load = Some(Load::new(key, instance.raised, stage));
        Ok(Some(self.canonical(next)))
    }

    /// Returns `true` if memory needs coherence for a value of this age.
    fn needs_coherence(&self, age: Age) -> bool {
        self.guards.barrier && (age == Age::Fresh || self.guards.stale_coherence)
    }

    /// Returns the value in memory that a call has if its load fails.
    pub(super) fn stale_in_memory(&self, state: &State, at: u8, key: u8) -> Option<Stale> {
        let instance = &state.instances[usize::from(at)];
        let entry = instance.memory[usize::from(key)].filter(|_| self.windows.is_some())?;
        let is_current = entry.start >= instance.fences[usize::from(key)];
        is_current.then_some(Stale {
            version: entry.version,
            start: entry.start,
        })
    }

    /// Returns `true` if a call may join a load.
    fn may_join(&self, state: &State, at: u8, slot: Slot, key: u8) -> bool {
        let instance = &state.instances[usize::from(at)];
        let load = match slot {
            Slot::Call => &instance.load,
            Slot::Background => &instance.background,
        };
        let fence = instance.fences[usize::from(key)];
        load.is_some_and(|load| {
            load.key == key && (load.start >= fence || !self.guards.join_current)
        }) && self.may_answer(instance, state.now)
    }

    /// Joins the load of another call. Returns `false` if that is not possible.
    pub(super) fn join_call(&self, next: &mut State, at: u8) -> bool {
        let load = next.instances[usize::from(at)].load;
        load.is_some_and(|load| self.may_join(next, at, Slot::Call, load.key))
            && self.join(next, at, Slot::Call)
    }

    /// Joins a load. Returns `false` if another call does so already, of which there is one at a
    /// time.
    fn join(&self, next: &mut State, at: u8, slot: Slot) -> bool {
        let instance = &mut next.instances[usize::from(at)];
        let load = *instance.slot(slot);
        let (None, Some(load)) = (instance.waiter, load) else {
            return false;
        };
        if !self.windows.is_some_and(|windows| windows.joins) {
            return false;
        }
        let needs = self.needed(next, at, load.key);
        next.instances[usize::from(at)].waiter = Some(Waiter::Waits { slot, needs });
        true
    }
}

impl State {
    /// Begins a load in the background. Returns `false` if there is one already.
    fn begin_in_background(&mut self, at: u8, key: u8) -> bool {
        let instance = &mut self.instances[usize::from(at)];
        if instance.background.is_some() {
            return false;
        }
        instance.background = Some(Load::new(key, instance.raised, Stage::Begun));
        true
    }
}
