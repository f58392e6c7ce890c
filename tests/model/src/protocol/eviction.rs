//! Control keys that the server evicts, and who restores them.
//!
//! The server deletes records when its memory is full, and under `allkeys-lru` also the sequence, the history and the
//! epoch. A barrier reads these three. An instance that finds one of them missing asks the server to restore what the
//! instance knew when it sent the barrier. The server does so only if the sequence says that nothing was published since.

use super::{Guards, Instance, Link, Protocol, State, Step, Target};

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
        let store = &mut next.primary;
        if store.identity != server {
            return;
        }
        if sequence && store.sequence.is_none() {
            store.sequence = Some(known.heard);
        }
        let guards = &self.guards;
        let is_alone = sequence && guards.sequence_restored_alone;
        let all_heard = store.sequence == Some(known.heard);
        if guards.restored_if_all_heard && (is_alone || !all_heard) {
            return;
        }
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
    pub(super) fn judge(&mut self, known: Known, found: Control, guards: &Guards) -> bool {
        let went_back = found.sequence.is_some_and(|last| last < known.heard);
        let lacks_messages = found.sequence.is_some_and(|last| last > self.heard);
        let is_unchanged = self.heard == known.heard;
        let is_another = found
            .history
            .is_some_and(|history| history != known.history);
        if went_back || lacks_messages || is_unchanged && is_another {
            self.isolate();
            return false;
        }
        // What a message changed in the meantime is not restored.
        let lacks_epoch = found.epoch.is_none() && known.epoch.is_some();
        let is_evicted = found.sequence.is_none() || found.history.is_none() || lacks_epoch;
        if is_evicted && (is_unchanged || !guards.restored_if_unchanged) {
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

    /// Whether the sequence is smaller than what an instance has heard on this server: the data set is an older one, whose
    /// numbers begin anew.
    pub(super) fn went_back(&mut self, at: u8) -> bool {
        let heard = self.instances[usize::from(at)].heard;
        let went_back = self.primary.sequence.is_some_and(|last| last < heard);
        if went_back {
            self.primary.sequence = None;
        }
        went_back
    }
}
