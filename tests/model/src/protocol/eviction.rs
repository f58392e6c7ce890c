//! Control keys that the server evicts, and the instances that restore them.
//!
//! The server deletes records when its memory is full, and under `allkeys-lru` also the sequence,
//! the history and the epoch. A barrier reads these three. If one of them is missing, the instance
//! asks the server to restore the value that the instance knew when it sent the barrier. The server
//! does so only if the sequence shows that nothing was published since. So a number must never be
//! used twice: a missing sequence restarts above every number that it ever had (the server uses its
//! clock), and a message of its own tells all instances where it restarts.

use super::config::{Protocol, Target};
use super::state::{Control, Instance, Known, Link, Message, Restore, State};
use super::steps::{ControlKey, Step};

impl Protocol {
    /// Restarts a missing sequence. Its caller has received the messages up to `received`.
    pub(super) fn begin_sequence(&self, next: &mut State, received: u8) {
        if self.evictions == 0 || next.primary.sequence.is_some() {
            return;
        }
        if self.guards.sequence_begins_above {
            let number = next.numbers + 1;
            next.primary.sequence = Some(number);
            next.send(number, Message::Sequence);
        } else {
            next.primary.sequence = Some(received);
        }
    }

    /// Adds the evictions that can happen next.
    pub(super) fn evictions(&self, state: &State, steps: &mut Vec<Step>) {
        if state.evicted >= self.evictions {
            return;
        }
        if state.primary.sequence.is_some() {
            steps.push(Step::Evict(ControlKey::Sequence));
        }
        if self.targets.contains(&Target::Namespace) && state.primary.history.is_some() {
            steps.push(Step::Evict(ControlKey::History));
        }
        if self.targets.contains(&Target::Function) && state.primary.epoch.is_some() {
            steps.push(Step::Evict(ControlKey::Epoch));
        }
    }

    /// Returns the control keys that an instance knows when it sends a barrier.
    pub(super) fn known(&self, instance: &Instance) -> Option<Known> {
        (self.evictions > 0).then_some(Known {
            received: instance.received,
            history: instance.history,
            epoch: instance.epoch,
        })
    }

    /// Returns the control keys that the barrier of an instance finds on its server.
    pub(super) fn found(&self, state: &State, at: u8) -> Option<Control> {
        let server = state.instances[usize::from(at)].server()?;
        let store = match &state.old {
            Some((old, _)) if old.identity == server => old,
            _ => &state.primary,
        };
        (self.evictions > 0).then_some(Control {
            sequence: store.sequence,
            history: store.history,
            epoch: store.epoch,
        })
    }

    /// Runs the script that restores evicted control keys.
    pub(super) fn restore(&self, next: &mut State, at: u8) {
        let instance = &mut next.instances[usize::from(at)];
        let Some(Restore { known, sequence }) = instance.restore.take() else {
            return;
        };
        let Link::Up { server } = instance.link else {
            return;
        };
        if next.primary.identity != server {
            return;
        }
        let was_missing = next.primary.sequence.is_none();
        if sequence {
            self.begin_sequence(next, known.received);
        }
        let guards = &self.guards;
        let is_alone = sequence && guards.sequence_restored_alone;
        let all_received = next.primary.sequence == Some(known.received)
            || was_missing && !guards.sequence_restored_alone;
        if guards.restored_if_all_received && (is_alone || !all_received) {
            return;
        }
        let store = &mut next.primary;
        store.history = store.history.or(Some(known.history));
        store.epoch = store.epoch.or(known.epoch);
    }

    /// Returns the epoch under which a lease is granted.
    ///
    /// A caller that received all messages restores an evicted epoch. Otherwise the lease begins a
    /// fresh one.
    pub(super) fn epoch_of_lease(&self, next: &mut State, at: u8) -> u8 {
        let instance = &next.instances[usize::from(at)];
        let all_received = next.primary.sequence == Some(instance.received);
        let known = instance
            .epoch
            .filter(|_| all_received || !self.guards.restored_if_all_received);
        let epoch = match next.primary.epoch.or(known) {
            Some(epoch) => epoch,
            None => next.fresh(Target::Function),
        };
        next.primary.epoch = Some(epoch);
        epoch
    }
}

impl Instance {
    /// Compares the control keys that a barrier found with those that were known when it was sent.
    /// Returns `false` if the link was closed.
    pub(super) fn judge(&mut self, known: Known, found: Control) -> bool {
        let went_back = found.sequence.is_some_and(|last| last < known.received);
        let lacks_messages = found.sequence.is_some_and(|last| last > self.received);
        let is_unchanged = self.received == known.received;
        let is_another = found
            .history
            .is_some_and(|history| history != known.history);
        let is_flushed = found.sequence.is_none() && found.history.is_none();
        if went_back || lacks_messages || is_unchanged && (is_another || is_flushed) {
            self.isolate();
            return false;
        }
        // A value that a message changed in the meantime is not restored.
        let lacks_epoch = found.epoch.is_none() && known.epoch.is_some();
        let is_evicted = found.sequence.is_none() || found.history.is_none() || lacks_epoch;
        if is_evicted && is_unchanged {
            self.restore = Some(Restore {
                known,
                sequence: found.sequence.is_none(),
            });
        }
        if found.epoch.is_some() && found.epoch != known.epoch && self.epoch == known.epoch {
            self.epoch = None;
        }
        true
    }
}

impl State {
    /// Evicts a control key of the server.
    pub(super) fn evict(&mut self, key: ControlKey) {
        self.evicted += 1;
        match key {
            ControlKey::Sequence => self.primary.sequence = None,
            ControlKey::History => self.primary.history = None,
            ControlKey::Epoch => self.primary.epoch = None,
        }
    }

    /// Renames the numbers of messages by their order. Only the order and the gaps matter, so a gap
    /// of any size becomes a gap of one.
    pub(super) fn rename_numbers(&mut self) {
        if self.numbers == 0 {
            return;
        }
        let mut used = vec![0];
        self.each_number(|number| used.push(*number));
        used.sort_unstable();
        used.dedup();
        let mut renamed = vec![(0, 0)];
        for pair in used.windows(2) {
            let before = renamed[renamed.len() - 1].1;
            renamed.push((pair[1], before + (pair[1] - pair[0]).min(2)));
        }
        self.each_number(|number| {
            let found = renamed.iter().find(|(old, _)| old == number);
            *number = found.map_or(0, |(_, new)| *new);
        });
        self.numbers = renamed[renamed.len() - 1].1;
    }

    fn each_number(&mut self, mut visit: impl FnMut(&mut u8)) {
        let servers = [
            Some(&mut self.primary),
            Some(&mut self.replica),
            self.old.as_mut().map(|(old, _)| old),
        ];
        for server in servers.into_iter().flatten() {
            server.sequence.iter_mut().for_each(&mut visit);
        }
        for instance in &mut self.instances {
            instance.each_number(&mut visit);
        }
    }
}

impl Instance {
    fn each_number(&mut self, visit: &mut impl FnMut(&mut u8)) {
        visit(&mut self.received);
        for (number, message) in &mut self.inbox {
            match message {
                Message::Pong(_, Some((known, found))) => {
                    visit(&mut known.received);
                    found.sequence.iter_mut().for_each(&mut *visit);
                }
                Message::Pong(_, None) => {}
                _ => visit(number),
            }
        }
        if let Some((_, Some(known))) = &mut self.ping {
            visit(&mut known.received);
        }
        if let Some(restore) = &mut self.restore {
            visit(&mut restore.known.received);
        }
    }
}
