//! Steps that can happen next.

use super::config::{INSTANCES, Protocol};
use super::state::{Invalidation, Link, Load, Message, State};
use super::steps::Step;

impl Protocol {
    /// Adds the steps that can happen next.
    pub fn steps(&self, state: &State, steps: &mut Vec<Step>) {
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
            if self.given_up && state.primary.leases[usize::from(key)].is_some() {
                steps.push(Step::LeaseEnds(key));
            }
        }
        self.evictions(state, steps);
        for at in 0..INSTANCES as u8 {
            let instance = &state.instances[usize::from(at)];
            match instance.load {
                None => steps.extend((0..self.keys).map(|key| Step::Call(at, key))),
                Some(Load::Read { .. }) => steps.push(Step::Keep(at)),
                Some(Load::Leased { .. }) => {
                    steps.push(Step::RunBody(at));
                    if self.given_up {
                        steps.push(Step::DropLoad(at));
                    }
                }
                Some(Load::Loaded { .. }) => steps.push(Step::Fill(at)),
            }
            match instance.link {
                Link::Down => steps.push(Step::Subscribe(at)),
                Link::Subscribed { .. } => steps.push(Step::Attach(at)),
                Link::Up { .. } => {
                    if instance.ping.is_some() {
                        steps.push(Step::Pong(at));
                    } else if instance.restore.is_some() {
                        steps.push(Step::Restore(at));
                    } else if self.guards.barrier
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
}
