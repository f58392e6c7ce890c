//! Steps of the callers.

use std::collections::BTreeSet;

use super::config::{Key, Rings, Wrong};
use super::state::{Edge, Frame, Load, Phase, Set, State, bit};

/// One step of a caller.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It looks in memory, then joins the flight or leads it.
    Begin(u8),
    /// The flight that it waited for has ended, or lost its leader.
    FlightEnds(u8),
    /// It reads the store and requests the lease.
    Lease(u8),
    /// The store adds the edges of its wait and searches them. Without the guard it only adds them.
    Wait(u8),
    /// The store searches the edges, if that is a step of its own.
    Search(u8),
    /// It asks the store again.
    AskAgain(u8),
    /// It stops waiting without a reason.
    GiveUp(u8),
    /// It is notified that the lease has ended.
    Wake(u8),
    /// Its body calls another key, or ends.
    Run(u8),
    /// It is dropped.
    Drop(u8),
}

impl Rings {
    /// Returns the first state: no call has begun.
    pub(super) fn start(&self) -> State {
        let instances = self.calls.iter().map(|(instance, _)| instance + 1).max();
        let begin = |&(_, key): &(u8, Key)| {
            vec![Frame {
                key,
                phase: Phase::Begins,
            }]
        };
        State {
            tasks: self.calls.iter().map(begin).collect(),
            leases: vec![None; self.bodies.len()],
            records: 0,
            memory: vec![0; usize::from(instances.unwrap_or(0))],
            edges: BTreeSet::new(),
            tokens: 0,
            dropped: 0,
            continuing: 0,
        }
    }

    /// Adds the steps that can happen next.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        for (task, frames) in (0..).zip(&state.tasks) {
            let Some(Frame { key, phase }) = frames.last() else {
                continue;
            };
            match phase {
                Phase::Begins => steps.push(Step::Begin(task)),
                Phase::Joined => {
                    let is_loaded = self.is_in_memory(state, task, *key);
                    if is_loaded || !self.flights(state, task).contains(key) {
                        steps.push(Step::FlightEnds(task));
                    }
                }
                Phase::Leads { .. } => steps.push(Step::Lease(task)),
                Phase::Refused { .. } => steps.push(Step::Wait(task)),
                Phase::Added { .. } => steps.push(Step::Search(task)),
                Phase::Waits { token } => {
                    if state.leases[usize::from(*key)] != Some(*token) {
                        steps.push(Step::Wake(task));
                    } else if self.guards.asks_again {
                        steps.push(Step::AskAgain(task));
                    }
                    if !self.guards.waits_without_limit {
                        steps.push(Step::GiveUp(task));
                    }
                }
                Phase::Runs { .. } => steps.push(Step::Run(task)),
            }
            if state.dropped < self.drops {
                steps.push(Step::Drop(task));
            }
        }
    }

    /// Returns the state after a step.
    pub(super) fn take(&self, state: &State, step: Step) -> State {
        let mut next = state.clone();
        match step {
            Step::Begin(task) => {
                let key = next.innermost(task).key;
                if self.is_in_memory(state, task, key) {
                    next.answered(task);
                } else if !self.flights(state, task).contains(&key) {
                    next.enter(task, Phase::Leads { continues: false });
                } else if self.closes_a_ring_here(state, task, key) {
                    let load = Load::Alone;
                    next.enter(task, Phase::Runs { calls: 0, load });
                } else {
                    next.enter(task, Phase::Joined);
                }
            }
            Step::FlightEnds(task) => {
                let key = next.innermost(task).key;
                match self.is_in_memory(state, task, key) {
                    true => next.answered(task),
                    false => next.enter(task, Phase::Leads { continues: false }),
                }
            }
            Step::Lease(task) => self.lease(&mut next, task),
            Step::Wait(task) | Step::AskAgain(task) => self.wait(&mut next, task),
            Step::Search(task) => {
                if let Frame {
                    key,
                    phase: Phase::Added { token },
                } = *next.innermost(task)
                {
                    let blocked = self.blocked(state, task);
                    next.decide(task, (key, token), &blocked, false);
                }
            }
            Step::GiveUp(task) => next.enter(task, Phase::Leads { continues: true }),
            Step::Wake(task) => next.enter(task, Phase::Leads { continues: false }),
            Step::Run(task) => self.run(&mut next, task),
            Step::Drop(task) => {
                next.dropped += 1;
                next.continuing &= !(1 << task);
                for frame in std::mem::take(&mut next.tasks[usize::from(task)]) {
                    next.release(frame);
                }
            }
        }
        // An edge ends with either of its leases.
        let leases = next.leases.clone();
        let is_held = |(key, token)| leases[usize::from(key)] == Some(token);
        next.edges
            .retain(|(from, to)| is_held(*from) && is_held(*to));
        next
    }

    /// Returns the violation of a state.
    pub(super) fn judge(&self, state: &State) -> Option<Wrong> {
        let mut running: Set = 0;
        for frame in state.tasks.iter().flatten() {
            if let Phase::Runs { .. } = frame.phase {
                if !self.has_ring && running & bit(frame.key) != 0 {
                    return Some(Wrong::LoadedTwice);
                }
                running |= bit(frame.key);
            }
        }
        (state.continuing.count_ones() > 1).then_some(Wrong::SeveralContinue)
    }

    fn is_in_memory(&self, state: &State, task: u8, key: Key) -> bool {
        state.memory[self.instance(task)] & bit(key) != 0
    }

    /// A leader reads the store, and takes the lease if it is free. A leader that continues shares
    /// it.
    fn lease(&self, next: &mut State, task: u8) {
        let Frame { key, phase } = *next.innermost(task);
        let held = next.leases[usize::from(key)];
        if next.records & bit(key) != 0 {
            next.memory[self.instance(task)] |= bit(key);
            next.answered(task);
            return;
        }
        let continues = phase == Phase::Leads { continues: true };
        if continues && !self.guards.one_step {
            let blocked = self.blocked(next, task);
            let is_own = |(from, to): &Edge| to.0 == key && blocked.contains(from);
            next.edges.retain(|edge| !is_own(edge));
        }
        let (token, exclusive) = match held {
            Some(token) if !continues => {
                next.enter(task, Phase::Refused { token });
                return;
            }
            Some(token) => (Some(token), false),
            // A shared lease without a holder has no effect on others. Its fill is not modelled.
            None if continues => (None, false),
            None => {
                next.tokens += 1;
                next.leases[usize::from(key)] = Some(next.tokens);
                (Some(next.tokens), true)
            }
        };
        let load = Load::Led { token, exclusive };
        next.enter(task, Phase::Runs { calls: 0, load });
    }

    /// The store adds the edges of a wait, and searches them.
    fn wait(&self, next: &mut State, task: u8) {
        let Frame { key, phase } = *next.innermost(task);
        let (Phase::Refused { token } | Phase::Waits { token }) = phase else {
            return;
        };
        let blocked = match self.guards.edges {
            true => self.blocked(next, task),
            false => Vec::new(),
        };
        if next.leases[usize::from(key)] == Some(token) {
            let edges = blocked.iter().map(|held| (*held, (key, token)));
            next.edges.extend(edges);
        }
        match self.guards.one_step {
            true => next.decide(task, (key, token), &blocked, true),
            false => next.enter(task, Phase::Added { token }),
        }
    }

    /// A body makes its next call, or ends.
    fn run(&self, next: &mut State, task: u8) {
        let frames = &mut next.tasks[usize::from(task)];
        let Some((innermost, outer)) = frames.split_last_mut() else {
            return;
        };
        let Phase::Runs { calls, load } = &mut innermost.phase else {
            return;
        };
        let (key, load) = (innermost.key, *load);
        let is_recursion = outer.iter().any(|frame| frame.key == key);
        let called = self.bodies[usize::from(key)].get(usize::from(*calls));
        if let Some(&called) = called.filter(|_| !is_recursion) {
            *calls += 1;
            frames.push(Frame {
                key: called,
                phase: Phase::Begins,
            });
            return;
        }
        if let Load::Led { token, .. } = load {
            next.memory[self.instance(task)] |= bit(key);
            if token.is_some() && next.leases[usize::from(key)] == token {
                next.leases[usize::from(key)] = None;
                next.records |= bit(key);
            }
        }
        next.answered(task);
    }
}
