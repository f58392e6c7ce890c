//! The server's side of a load: its records are read, and it grants leases.

use super::config::Protocol;
use super::load::{Kind, Lease, Load, Stage};
use super::state::{Link, Record, Server, State};
use super::steps::{Mode, Wrong};

/// Answer to a request for a lease.
#[derive(Clone, Copy, Debug)]
pub(super) enum Answer {
    Granted(Lease),
    /// Another caller holds the lease, or the server grants none.
    Refused,
    /// A load of the key failed some time ago.
    BackedOff,
}

impl Protocol {
    /// Reads the record of a key, and the epoch and the history if they are not known. `None` if
    /// there is no valid record.
    pub(super) fn valid_record(
        &self,
        next: &mut State,
        at: u8,
        server: u8,
        key: u8,
    ) -> Option<Record> {
        let instance = &next.instances[usize::from(at)];
        let coherent = self.is_coherent(instance, next.now);
        let known = instance.epoch.filter(|_| coherent);
        let known_history = instance.history;
        let store = next.server(server)?;
        // The known epoch and history, or those that are read with the record.
        let (epoch, history) = match known {
            Some(epoch) => (Some(epoch), Some(known_history)),
            None => (store.epoch, store.history),
        };
        let record = store.records[usize::from(key)].filter(|record| {
            (!self.guards.epoch || Some(record.epoch) == epoch)
                && (!self.guards.history || Some(record.history) == history)
        });
        let instance = &mut next.instances[usize::from(at)];
        instance.epoch = epoch.or(instance.epoch);
        record
    }

    /// Asks for the lease of a key.
    pub(super) fn lease(
        &self,
        next: &mut State,
        at: u8,
        key: u8,
        mode: Mode,
    ) -> Result<Answer, Wrong> {
        let Link::Up { server } = next.instances[usize::from(at)].link else {
            return Ok(Answer::Refused);
        };
        let Some(store) = next.server(server).cloned() else {
            return Ok(Answer::Refused);
        };
        if let Some(answer) = self.answer_if_held(mode, store.valid_lease(key)) {
            return Ok(answer);
        }
        let writes = next.primary.identity == server;
        // Without a history the server grants no lease.
        let (true, Some(history)) = (writes, store.history) else {
            return Ok(Answer::Refused);
        };
        if mode == Mode::Refresh && next.refreshes(key) {
            return Err(Wrong::TwoRefreshes);
        }
        let epoch = self.epoch_of_lease(next, at);
        next.tokens += 1;
        let lease = Lease {
            token: next.tokens,
            epoch,
            history,
            kind: match mode {
                Mode::Shared => Kind::Shared,
                Mode::Exclusive | Mode::Refresh | Mode::Preempt => Kind::Exclusive,
            },
        };
        next.primary.leases[usize::from(key)] = Some(lease);
        next.instances[usize::from(at)].epoch = Some(epoch);
        Ok(Answer::Granted(lease))
    }

    /// Returns the answer to a request if it is not granted a lease of its own.
    fn answer_if_held(&self, mode: Mode, held: Option<Lease>) -> Option<Answer> {
        let held = held.filter(|_| self.guards.lease)?;
        match (mode, held.kind) {
            (Mode::Exclusive, Kind::Exclusive) => Some(Answer::Refused),
            (Mode::Refresh, Kind::Exclusive) if self.guards.one_refresh => Some(Answer::Refused),
            (Mode::Refresh, Kind::BackOff) => Some(Answer::BackedOff),
            (Mode::Shared, Kind::BackOff) if self.guards.back_off_is_no_lease => None,
            (Mode::Shared, _) => Some(Answer::Granted(held)),
            (Mode::Exclusive | Mode::Refresh | Mode::Preempt, _) => None,
        }
    }
}

impl Server {
    /// Returns the lease of a key, or the back-off, if epoch and history are as when it began.
    fn valid_lease(&self, key: u8) -> Option<Lease> {
        self.leases[usize::from(key)]
            .filter(|lease| Some(lease.epoch) == self.epoch && Some(lease.history) == self.history)
    }
}

impl State {
    /// Returns `true` if a load replaces the value of a key, and was not overtaken.
    pub(super) fn refreshes(&mut self, key: u8) -> bool {
        let held = self.primary.valid_lease(key).map(|held| held.token);
        let loads = self.instances.iter_mut().flat_map(|one| one.loads());
        loads.into_iter().any(|load: &mut Load| {
            let is_held = match load.stage {
                Stage::Begun | Stage::Read { .. } => false,
                Stage::Leased { lease, .. } | Stage::Loaded { lease, .. } => {
                    lease.is_none_or(|lease| Some(lease.token) == held)
                }
            };
            load.key == key && load.is_refresh && is_held
        })
    }
}
