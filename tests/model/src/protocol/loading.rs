//! Steps of a load after it was begun.

use super::config::Protocol;
use super::lease::Answer;
use super::load::{Age, BACK_OFF, Kind, Lease, Load, Slot, Stage, Waiter};
use super::state::{Entry, Link, Record, State};
use super::steps::{LoadStep, Mode, Wrong};

/// The place of a load: an instance, and which of its loads.
type Place = (u8, Slot);

impl Protocol {
    /// Takes a step of a load.
    pub(super) fn load(&self, next: &mut State, place: Place, step: LoadStep) -> Result<(), Wrong> {
        let (at, slot) = place;
        let truth = next.truth;
        let instance = &mut next.instances[usize::from(at)];
        let Some(mut load) = instance.slot(slot).take() else {
            return Ok(());
        };
        match (step, load.stage) {
            (LoadStep::AskServer, Stage::Begun) => return self.ask_server(next, at, load),
            (LoadStep::Keep, Stage::Read { version, age }) => {
                self.keep(next, place, load, (version, age));
                return next.answer(place, version);
            }
            (LoadStep::RunBody, Stage::Leased { lease, link }) => {
                let version = truth[usize::from(load.key)];
                load.stage = Stage::Loaded {
                    lease,
                    link,
                    version,
                };
                *instance.slot(slot) = Some(load);
            }
            (
                LoadStep::Fill,
                Stage::Loaded {
                    lease,
                    link,
                    version,
                },
            ) => {
                self.keep(next, place, load, (version, Age::Fresh));
                next.answer(place, version)?;
                return self.fill(next, at, load.key, (version, lease, link));
            }
            (LoadStep::Fail, Stage::Leased { lease, link }) => {
                next.back_off(at, load.key, lease, link);
                return self.fail(next, place, load);
            }
            (LoadStep::HandOver, _) => {
                if let Some(stale) = load.stale {
                    self.returns_on_error(next, at, load.key, stale)?;
                }
                next.hand_over(at, load);
            }
            // The waiter of a load that is dropped takes the lead.
            _ => next.end_waiter(place),
        }
        Ok(())
    }

    /// Reads the record on behalf of a load in the background, or takes its lease.
    fn ask_server(&self, next: &mut State, at: u8, mut load: Load) -> Result<(), Wrong> {
        let key = load.key;
        let Link::Up { server } = next.instances[usize::from(at)].link else {
            next.end_waiter((at, Slot::Background));
            return Ok(());
        };
        load.stale = self.stale_in_memory(next, at, key);
        let record = self.valid_record(next, at, server, key);
        if let Some(record) = record.filter(|record| record.age == Age::Fresh) {
            let (version, age) = (record.version, record.age);
            load.stage = Stage::Read { version, age };
            next.instances[usize::from(at)].background = Some(load);
            return Ok(());
        }
        let lease = match self.guards.refresh_leased {
            true => match self.lease(next, at, key, Mode::Refresh)? {
                Answer::Granted(lease) => Some(lease),
                Answer::Refused | Answer::BackedOff => {
                    next.end_waiter((at, Slot::Background));
                    return Ok(());
                }
            },
            false => None,
        };
        let instance = &mut next.instances[usize::from(at)];
        let link = instance.links;
        load.stage = Stage::Leased { lease, link };
        load.is_refresh = true;
        instance.background = Some(load);
        Ok(())
    }

    /// Keeps the value of a load in memory.
    fn keep(&self, next: &mut State, (at, slot): Place, load: Load, (version, age): (u8, Age)) {
        let instance = &mut next.instances[usize::from(at)];
        let index = usize::from(load.key);
        let start = match slot {
            Slot::Background if !self.guards.number_of_load => instance.raised,
            Slot::Background | Slot::Call => load.start,
        };
        // A load in the background may have begun before the one that memory has the value of.
        let is_older = instance.memory[index].is_some_and(|kept| kept.start > start);
        let is_outdated = is_older || start < instance.fences[index];
        if slot == Slot::Call || !is_outdated {
            instance.memory[index] = Some(Entry {
                version,
                start,
                age,
            });
        }
    }

    /// Stores the value of a load on the server, if its lease is valid.
    fn fill(
        &self,
        next: &mut State,
        at: u8,
        key: u8,
        (version, lease, link): (u8, Option<Lease>, u8),
    ) -> Result<(), Wrong> {
        let instance = &next.instances[usize::from(at)];
        let on_its_link = !self.guards.lease_on_link || instance.links == link;
        let Link::Up { server } = instance.link else {
            return Ok(());
        };
        let needed = next.acknowledged_version(key);
        let store = &mut next.primary;
        let index = usize::from(key);
        let held =
            store.leases[index].filter(|held| lease.is_some_and(|one| one.token == held.token));
        let needs_lease = self.guards.lease && lease.is_some();
        if server != store.identity || !on_its_link || needs_lease && held.is_none() {
            return Ok(());
        }
        let of_lease = lease.map(|lease| (Some(lease.epoch), Some(lease.history)));
        let (epoch, history) = of_lease.unwrap_or((store.epoch, store.history));
        if self.guards.lease
            && self.guards.lease_on_link
            && (store.epoch != epoch || store.history != history)
        {
            return Ok(());
        }
        let (Some(epoch), Some(history)) = (epoch, history) else {
            return Ok(());
        };
        let current = store.history.filter(|_| !self.guards.lease_on_link);
        store.records[index] = Some(Record {
            version,
            age: Age::Fresh,
            epoch,
            history: current.unwrap_or(history),
        });
        store.leases[index] = None;
        match held {
            _ if self.windows.is_some() && version < needed => Err(Wrong::StoredAfterInvalidation),
            Some(held) if held.kind == Kind::BackOff => Err(Wrong::StoredUnderBackOff),
            _ => Ok(()),
        }
    }

    /// Answers the callers of a load whose body failed.
    fn fail(&self, next: &mut State, place: Place, load: Load) -> Result<(), Wrong> {
        let (at, slot) = place;
        let key = load.key;
        let stale = load.stale.or_else(|| self.stale_in_memory(next, at, key));
        let is_returned = match stale {
            Some(stale) => self.returns_on_error(next, at, key, stale)?,
            None => false,
        };
        let instance = &mut next.instances[usize::from(at)];
        if instance.waiter.is_some_and(|waiter| waiter.is_of(slot)) {
            let stale = stale.filter(|_| is_returned);
            instance.waiter = stale.map(|stale| Waiter::HasStale { key, stale });
        }
        Ok(())
    }
}

impl State {
    /// Returns the newest version of a key whose invalidation was acknowledged.
    fn acknowledged_version(&self, key: u8) -> u8 {
        let of_key = self.acknowledged.iter().filter(|(of, ..)| *of == key);
        of_key.map(|(_, version, _)| *version).max().unwrap_or(0)
    }

    /// Replaces the lease of a failed load by a back-off.
    fn back_off(&mut self, at: u8, key: u8, lease: Option<Lease>, link: u8) {
        let instance = &self.instances[usize::from(at)];
        let on_its_link = instance.links == link;
        let is_primary = instance.server() == Some(self.primary.identity);
        let held = &mut self.primary.leases[usize::from(key)];
        let is_held = lease.is_some() && held.map(|held| held.token) == lease.map(|one| one.token);
        if let Some(lease) = lease.filter(|_| on_its_link && is_primary && is_held) {
            *held = Some(Lease {
                token: BACK_OFF,
                kind: Kind::BackOff,
                ..lease
            });
        }
    }

    /// Answers the waiter of a load that has a value.
    fn answer(&mut self, (at, slot): Place, version: u8) -> Result<(), Wrong> {
        match self.instances[usize::from(at)].waiter {
            Some(Waiter::Waits { slot: of, needs }) if of == slot && version < needs => {
                Err(Wrong::StaleFromLoad)
            }
            _ => {
                self.end_waiter((at, slot));
                Ok(())
            }
        }
    }

    /// The waiter of a load does not wait any more.
    fn end_waiter(&mut self, (at, slot): Place) {
        let waiter = &mut self.instances[usize::from(at)].waiter;
        *waiter = waiter.filter(|waiter| !waiter.is_of(slot));
    }

    /// Continues the load of a call in the background.
    fn hand_over(&mut self, at: u8, load: Load) {
        let instance = &mut self.instances[usize::from(at)];
        instance.background = Some(load);
        if let Some(Waiter::Waits { slot, .. }) = &mut instance.waiter {
            *slot = Slot::Background;
        }
    }
}
