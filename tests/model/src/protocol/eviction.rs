//! Control keys that the server evicts, and who restores them.
//!
//! The server deletes records when its memory is full, and under `allkeys-lru` also the sequence, the history and the
//! epoch. A barrier reads these three. An instance that finds one of them missing asks the server to restore what the
//! instance knew when it sent the barrier. The server does so only if the sequence says that nothing was published since.
//! So a number must never come back: a sequence that is missing begins above every number that it ever had (the server takes
//! its clock), and a message of its own tells everybody where it begins.

use super::{Instance, Link, Message, Protocol, State, Step, Target};

/// A key that the protocol relies on.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKey {
    /// The number of the last message.
    Sequence,
    /// The history.
    History,
    /// The epoch of the function.
    Epoch,
}

/// What an instance knows of the control keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known {
    heard: u8,
    history: u8,
    epoch: Option<u8>,
}

/// What a barrier read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Control {
    sequence: Option<u8>,
    history: Option<u8>,
    epoch: Option<u8>,
}

/// What an instance asks the server to restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Restore {
    known: Known,
    /// The barrier found no sequence. Then the others are left to a later barrier: without a sequence the server cannot
    /// tell whether this instance has heard everything.
    sequence: bool,
}

impl Protocol {
    /// A number of the channel, if messages have numbers.
    pub(super) fn numbered(&self, number: u8) -> Option<u8> {
        (self.evictions > 0).then_some(number)
    }

    /// Begins a missing sequence anew; its caller has `heard` so many messages.
    pub(super) fn begin_sequence(&self, next: &mut State, heard: u8) {
        if self.evictions == 0 || next.primary.sequence.is_some() {
            return;
        }
        if self.guards.sequence_begins_above {
            let number = next.numbers + 1;
            next.primary.sequence = Some(number);
            next.send(number, Message::Sequence);
        } else {
            next.primary.sequence = Some(heard);
        }
    }

    /// The evictions that can happen next.
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

    /// What an instance knows when it sends a barrier.
    pub(super) fn known(&self, instance: &Instance) -> Option<Known> {
        (self.evictions > 0).then_some(Known {
            heard: instance.heard,
            history: instance.history,
            epoch: instance.epoch,
        })
    }

    /// What the barrier of an instance finds on its server.
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

    /// The script that restores what was evicted.
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
            self.begin_sequence(next, known.heard);
        }
        let guards = &self.guards;
        let is_alone = sequence && guards.sequence_restored_alone;
        let all_heard = next.primary.sequence == Some(known.heard)
            || was_missing && !guards.sequence_restored_alone;
        if guards.restored_if_all_heard && (is_alone || !all_heard) {
            return;
        }
        let store = &mut next.primary;
        store.history = store.history.or(Some(known.history));
        store.epoch = store.epoch.or(known.epoch);
    }

    /// The epoch that a lease is given under. An evicted one is restored by a caller that has heard everything; else the
    /// lease begins a fresh one.
    pub(super) fn epoch_of_lease(&self, next: &mut State, at: u8) -> u8 {
        let instance = &next.instances[usize::from(at)];
        let all_heard = next.primary.sequence == Some(instance.heard);
        let known = instance
            .epoch
            .filter(|_| all_heard || !self.guards.restored_if_all_heard);
        let epoch = match next.primary.epoch.or(known) {
            Some(epoch) => epoch,
            None => next.fresh(Target::Function),
        };
        next.primary.epoch = Some(epoch);
        epoch
    }
}

impl Instance {
    /// Judges what a barrier found by what was known when it was sent. Returns `false` if the link was given up.
    pub(super) fn judge(&mut self, known: Known, found: Control) -> bool {
        let went_back = found.sequence.is_some_and(|last| last < known.heard);
        let lacks_messages = found.sequence.is_some_and(|last| last > self.heard);
        let is_unchanged = self.heard == known.heard;
        let is_another = found
            .history
            .is_some_and(|history| history != known.history);
        let is_flushed = found.sequence.is_none() && found.history.is_none();
        if went_back || lacks_messages || is_unchanged && (is_another || is_flushed) {
            self.isolate();
            return false;
        }
        // What a message changed in the meantime is not restored.
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

    /// Gives the link up: it is not known what was invalidated.
    pub(super) fn isolate(&mut self) {
        self.invalidated(0, true);
        self.disconnect();
    }
}

impl State {
    /// A number that no epoch or no history had before.
    pub(super) fn fresh(&mut self, target: Target) -> u8 {
        match target {
            Target::Key => 0,
            Target::Function => {
                self.epochs += 1;
                self.epochs
            }
            Target::Namespace => {
                self.histories += 1;
                self.histories
            }
        }
    }

    /// The server evicts a key.
    pub(super) fn evict(&mut self, key: ControlKey) {
        self.evicted += 1;
        match key {
            ControlKey::Sequence => self.primary.sequence = None,
            ControlKey::History => self.primary.history = None,
            ControlKey::Epoch => self.primary.epoch = None,
        }
    }

    /// Renames the numbers of messages by their order. Only which number follows which matters, so a
    /// gap of any size becomes a gap of one.
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
            visit(&mut instance.heard);
            for (number, message) in &mut instance.inbox {
                match message {
                    Message::Pong(_, found) => {
                        if let Some((known, found)) = found {
                            visit(&mut known.heard);
                            found.sequence.iter_mut().for_each(&mut visit);
                        }
                    }
                    _ => visit(number),
                }
            }
            if let Some((_, Some(known))) = &mut instance.ping {
                visit(&mut known.heard);
            }
            if let Some(restore) = &mut instance.restore {
                visit(&mut restore.known.heard);
            }
        }
    }
}
