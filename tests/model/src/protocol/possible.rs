//! Steps that can happen next.

use super::config::{INSTANCES, Protocol};
use super::load::{Kind, Load, Slot, Stage};
use super::state::{Instance, Invalidation, Link, Message, State};
use super::steps::{CopyOf, LoadStep, Mode, Step};

impl Protocol {
    /// Adds the steps that can happen next.
    pub(super) fn possible(&self, state: &State, steps: &mut Vec<Step>) {
        match state.invalidation {
            None if state.written < self.writes => steps.extend((0..self.keys).map(Step::Commit)),
            None => {}
            Some(Invalidation::Committed { .. }) => {
                steps.extend(self.targets.iter().copied().map(Step::BeginInvalidation));
            }
            Some(Invalidation::Begun { .. }) => {
                if matches!(state.instances[0].link, Link::Up { .. }) {
                    steps.push(Step::Invalidate);
                }
            }
            Some(Invalidation::Deleted { .. }) => {
                steps.extend([Step::Publish, Step::DieBeforePublishing]);
            }
            Some(Invalidation::Done { .. }) => steps.push(Step::Acknowledge),
        }
        if state.now < self.time {
            steps.push(Step::Tick);
        }
        if state.failed < self.failovers {
            steps.push(Step::Replicate);
            steps.push(Step::Failover {
                lives: self.old_primary_lives,
            });
        }
        for key in 0..self.keys {
            if state.primary.leases[usize::from(key)]
                .is_some_and(|lease| self.given_up || lease.kind == Kind::BackOff)
            {
                steps.push(Step::LeaseEnds(key));
            }
        }
        self.evictions(state, steps);
        for at in 0..INSTANCES as u8 {
            let instance = &state.instances[usize::from(at)];
            if self.calls.contains(&at) {
                self.calls(instance, at, steps);
            }
            self.links(state, at, steps);
        }
        if self.windows.is_some() {
            self.ages(state, steps);
        }
    }

    /// Adds the steps of the calls and loads of an instance.
    fn calls(&self, instance: &Instance, at: u8, steps: &mut Vec<Step>) {
        let windows = self.windows;
        match &instance.load {
            None => {
                steps.extend((0..self.keys).map(|key| Step::Call(at, key)));
                if windows.is_some_and(|windows| windows.other_modes) {
                    let modes = [Mode::Shared, Mode::Preempt];
                    let keys = 0..self.keys;
                    steps
                        .extend(keys.flat_map(|key| modes.map(|mode| Step::CallAs(at, key, mode))));
                }
            }
            Some(load) => {
                self.steps_of_load((at, Slot::Call), load, steps);
                let revalidates = windows.is_some_and(|windows| windows.revalidates);
                if revalidates && instance.background.is_none() && load.is_in_body() {
                    steps.push(Step::Load(at, Slot::Call, LoadStep::HandOver));
                }
            }
        }
        if let Some(load) = &instance.background {
            self.steps_of_load((at, Slot::Background), load, steps);
        }
        let joins = windows.is_some_and(|windows| windows.joins);
        match instance.waiter {
            Some(_) => steps.push(Step::AnswerWaiter(at)),
            None if joins && instance.load.is_some() => steps.push(Step::Join(at)),
            None => {}
        }
    }

    fn steps_of_load(&self, (at, slot): (u8, Slot), load: &Load, steps: &mut Vec<Step>) {
        let step = match load.stage {
            Stage::Begun => LoadStep::AskServer,
            Stage::Read { .. } => LoadStep::Keep,
            Stage::Leased { .. } => LoadStep::RunBody,
            Stage::Loaded { .. } => LoadStep::Fill,
        };
        steps.push(Step::Load(at, slot, step));
        if matches!(load.stage, Stage::Leased { .. }) {
            if self.given_up {
                steps.push(Step::Load(at, slot, LoadStep::Drop));
            }
            if self.windows.is_some() {
                steps.push(Step::Load(at, slot, LoadStep::Fail));
            }
        }
    }

    /// Adds the copies whose time can pass.
    fn ages(&self, state: &State, steps: &mut Vec<Step>) {
        for key in 0..self.keys {
            if state.primary.records[usize::from(key)].is_some() {
                steps.push(Step::Age(CopyOf::Record(key)));
            }
            for at in self.calls {
                if state.instances[usize::from(*at)].memory[usize::from(key)].is_some() {
                    steps.push(Step::Age(CopyOf::Entry(*at, key)));
                }
            }
        }
    }

    /// Adds the steps of the link of an instance and of its channel.
    fn links(&self, state: &State, at: u8, steps: &mut Vec<Step>) {
        let instance = &state.instances[usize::from(at)];
        let is_called = self.calls.contains(&at);
        match instance.link {
            Link::Down => steps.push(Step::Subscribe(at)),
            Link::Subscribed { .. } => steps.push(Step::Attach(at)),
            Link::Up { .. } => {
                if instance.ping.is_some() {
                    steps.push(Step::Pong(at));
                } else if instance.restore.is_some() {
                    steps.push(Step::Restore(at));
                } else if self.guards.barrier
                    && is_called
                    && instance.proved.is_none_or(|proved| proved < state.now)
                    && !instance
                        .inbox
                        .iter()
                        .any(|(_, message)| matches!(message, Message::Pong(..)))
                {
                    steps.push(Step::Ping(at));
                }
            }
        }
        if instance.link != Link::Down {
            if !instance.inbox.is_empty() {
                steps.push(Step::Deliver(at));
                if !self.guards.ordered_channel && state.broken < self.breaks {
                    steps.push(Step::Lose(at));
                }
            }
            if self.guards.ordered_channel && state.broken < self.breaks {
                steps.push(Step::Break(at));
            }
        }
    }
}
