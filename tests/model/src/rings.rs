//! Loads that wait for each other over instances, as a model that is searched to the end.
//!
//! The body of a key may call another key. A call leads the flight of its key in its instance or waits for it; a leader
//! takes the lease of its key in the store, or waits for the load of another instance. The store keeps the waits as edges
//! from a lease that is held to one that is awaited, and tells the caller that closes a ring: that caller goes on with a
//! load of its own. These are the words and the steps of `flight/deadlock.rs` and `load/waits.rs` in `cache-core`, and of
//! the script `DEADLOCK` in `cache-redis`.
//!
//! A body that is already running further out in the same task calls nothing, or a recursion would have no end.
//!
//! The search finds the states from which no call ever ends. If each step leads to a state that was not there before, and
//! each state without a step has no call left, then every order of steps ends all calls.

pub mod scenarios;
mod search;
mod waits;

use std::collections::BTreeSet;

pub use search::{Outcome, search};

/// A key: an index.
type Key = u8;

/// A set of keys or of calls: a bit for each.
type Set = u8;

/// What is searched.
#[derive(Clone, Copy, Debug)]
pub struct Rings {
    /// The calls from outside of any load, each as instance and key.
    pub calls: &'static [(u8, Key)],
    /// What the body of each key calls, one after another.
    pub bodies: &'static [&'static [Key]],
    /// Callers that may be dropped.
    pub drops: u8,
    /// Whether loads can wait for each other. If they cannot, no key may be loaded by two callers at once.
    pub has_ring: bool,
    /// The guards.
    pub guards: RingGuards,
}

/// The guards against rings. All are in place, but for the one that a search takes out.
#[derive(Clone, Copy, Debug)]
pub struct RingGuards {
    /// The store keeps who waits for whom.
    pub edges: bool,
    /// The edges of a wait are added, searched, and removed if they close a ring, in one step.
    pub one_step: bool,
    /// A waiting leader asks again by and by, also for the loads that have begun to wait for its flight.
    pub asks_again: bool,
    /// A caller goes on only if its wait closes a ring.
    pub waits_without_limit: bool,
}

impl RingGuards {
    /// All of them.
    pub const ALL: Self = Self {
        edges: true,
        one_step: true,
        asks_again: true,
        waits_without_limit: true,
    };
}

/// A wait of the holder of one lease for another: key and token of each.
type Edge = ((Key, u8), (Key, u8));

/// How far a call is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// It has not looked yet.
    Asks,
    /// It waits for a flight of its instance that another caller leads.
    Joined,
    /// It leads the flight, and is about to read the store and to ask for the lease.
    Leads { goes_on: bool },
    /// Another instance holds the lease with this token; whether the wait closes a ring is not known.
    Refused { token: u8 },
    /// The edges were added and not searched, where these are two steps.
    Noted { token: u8 },
    /// It waits until the lease with this token ends.
    Waits { token: u8 },
    /// Its body runs, and has made this many calls.
    Runs { calls: u8, load: Load },
}

/// How a body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Load {
    /// Beside the flight of its key, for its own caller.
    Alone,
    /// As the load of the flight. A lease that is shared with another load keeps nobody waiting.
    Led { token: Option<u8>, exclusive: bool },
}

/// A call, nested in the body of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Frame {
    key: Key,
    phase: Phase,
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// The frames of each caller, the innermost last; none if the caller has its value.
    tasks: Vec<Vec<Frame>>,
    leases: Vec<Option<u8>>,
    records: Set,
    /// What each instance has in memory.
    memory: Vec<Set>,
    edges: BTreeSet<Edge>,
    tokens: u8,
    dropped: u8,
    /// The callers that the store told to go on, and that are still there.
    going_on: Set,
}

/// One thing that happens to a caller.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It looks in memory, and joins the flight or leads it.
    Ask(u8),
    /// The flight that it waited for has landed, or lost its leader.
    Arrive(u8),
    /// It reads the store and asks for the lease.
    Lease(u8),
    /// The store adds the edges of its wait and searches them. Without the guard it only adds them.
    Wait(u8),
    /// The store searches the edges, where that is a step of its own.
    Search(u8),
    /// It asks the store again.
    AskAgain(u8),
    /// It stops waiting, though nothing tells that it must.
    GiveUp(u8),
    /// It hears that the lease has ended.
    Wake(u8),
    /// Its body calls another key, or ends.
    Run(u8),
    /// It goes away.
    Drop(u8),
}

/// What must not happen.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Calls wait for each other for ever.
    Deadlock,
    /// Steps can be repeated without an end.
    Endless,
    /// Two callers load a key at once, though no loads wait for each other.
    LoadedTwice,
    /// More than one caller of a ring goes on.
    SeveralGoOn,
}

impl Rings {
    /// No call has looked yet.
    fn start(&self) -> State {
        let instances = self.calls.iter().map(|(instance, _)| instance + 1).max();
        let asks = |&(_, key): &(u8, Key)| {
            vec![Frame {
                key,
                phase: Phase::Asks,
            }]
        };
        State {
            tasks: self.calls.iter().map(asks).collect(),
            leases: vec![None; self.bodies.len()],
            records: 0,
            memory: vec![0; usize::from(instances.unwrap_or(0))],
            edges: BTreeSet::new(),
            tokens: 0,
            dropped: 0,
            going_on: 0,
        }
    }

    /// What can happen next.
    fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        for (task, frames) in (0..).zip(&state.tasks) {
            let Some(Frame { key, phase }) = frames.last() else {
                continue;
            };
            match phase {
                Phase::Asks => steps.push(Step::Ask(task)),
                Phase::Joined => {
                    let has_landed = self.is_in_memory(state, task, *key);
                    if has_landed || !self.flights(state, task).contains(key) {
                        steps.push(Step::Arrive(task));
                    }
                }
                Phase::Leads { .. } => steps.push(Step::Lease(task)),
                Phase::Refused { .. } => steps.push(Step::Wait(task)),
                Phase::Noted { .. } => steps.push(Step::Search(task)),
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

    /// What follows a step.
    fn take(&self, state: &State, step: Step) -> State {
        let mut next = state.clone();
        match step {
            Step::Ask(task) => {
                let key = next.innermost(task).key;
                if self.is_in_memory(state, task, key) {
                    next.answered(task);
                } else if !self.flights(state, task).contains(&key) {
                    next.enter(task, Phase::Leads { goes_on: false });
                } else if self.closes_a_ring_here(state, task, key) {
                    let load = Load::Alone;
                    next.enter(task, Phase::Runs { calls: 0, load });
                } else {
                    next.enter(task, Phase::Joined);
                }
            }
            Step::Arrive(task) => {
                let key = next.innermost(task).key;
                match self.is_in_memory(state, task, key) {
                    true => next.answered(task),
                    false => next.enter(task, Phase::Leads { goes_on: false }),
                }
            }
            Step::Lease(task) => self.lease(&mut next, task),
            Step::Wait(task) | Step::AskAgain(task) => self.wait(&mut next, task),
            Step::Search(task) => {
                if let Frame {
                    key,
                    phase: Phase::Noted { token },
                } = *next.innermost(task)
                {
                    let blocked = self.blocked(state, task);
                    next.decide(task, (key, token), &blocked, false);
                }
            }
            Step::GiveUp(task) => next.enter(task, Phase::Leads { goes_on: true }),
            Step::Wake(task) => next.enter(task, Phase::Leads { goes_on: false }),
            Step::Run(task) => self.run(&mut next, task),
            Step::Drop(task) => {
                next.dropped += 1;
                next.going_on &= !(1 << task);
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

    /// What is wrong with a state.
    fn judge(&self, state: &State) -> Option<Wrong> {
        let mut running: Set = 0;
        for frame in state.tasks.iter().flatten() {
            if let Phase::Runs { .. } = frame.phase {
                if !self.has_ring && running & bit(frame.key) != 0 {
                    return Some(Wrong::LoadedTwice);
                }
                running |= bit(frame.key);
            }
        }
        (state.going_on.count_ones() > 1).then_some(Wrong::SeveralGoOn)
    }

    fn is_in_memory(&self, state: &State, task: u8, key: Key) -> bool {
        state.memory[self.instance(task)] & bit(key) != 0
    }

    fn instance(&self, task: u8) -> usize {
        usize::from(self.calls[usize::from(task)].0)
    }

    /// A leader reads the store, and takes the lease if it can be had. One that goes on shares it.
    fn lease(&self, next: &mut State, task: u8) {
        let Frame { key, phase } = *next.innermost(task);
        let held = next.leases[usize::from(key)];
        if next.records & bit(key) != 0 {
            next.memory[self.instance(task)] |= bit(key);
            next.answered(task);
            return;
        }
        let goes_on = phase == Phase::Leads { goes_on: true };
        if goes_on && !self.guards.one_step {
            let blocked = self.blocked(next, task);
            let is_own = |(from, to): &Edge| to.0 == key && blocked.contains(from);
            next.edges.retain(|edge| !is_own(edge));
        }
        let (token, exclusive) = match held {
            Some(token) if !goes_on => {
                next.enter(task, Phase::Refused { token });
                return;
            }
            Some(token) => (Some(token), false),
            // A share of a lease that nobody holds is of no use to anybody else; its fill is left out.
            None if goes_on => (None, false),
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
            false => next.enter(task, Phase::Noted { token }),
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
                phase: Phase::Asks,
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

impl State {
    fn innermost(&self, task: u8) -> &Frame {
        let frames = &self.tasks[usize::from(task)];
        frames.last().expect("a task with steps has a frame")
    }

    fn enter(&mut self, task: u8, phase: Phase) {
        if let Some(frame) = self.tasks[usize::from(task)].last_mut() {
            frame.phase = phase;
        }
    }

    /// The innermost call of a task has its value.
    fn answered(&mut self, task: u8) {
        self.tasks[usize::from(task)].pop();
    }

    /// A call goes away with its lease.
    fn release(&mut self, frame: Frame) {
        if let Phase::Runs {
            load: Load::Led { token, exclusive },
            ..
        } = frame.phase
        {
            let lease = &mut self.leases[usize::from(frame.key)];
            if exclusive && *lease == token {
                *lease = None;
            }
        }
    }

    /// The store tells a caller whether it closes a ring with the leases that its wait blocks. The edges of one that
    /// does are removed, for it goes on: at once, or in a step of their own.
    fn decide(&mut self, task: u8, awaited: (Key, u8), blocked: &[(Key, u8)], removes: bool) {
        let is_held = |&(key, token): &(Key, u8)| self.leases[usize::from(key)] == Some(token);
        let blocked: Vec<_> = blocked.iter().copied().filter(is_held).collect();
        if !is_held(&awaited) || !waits::reaches(&self.edges, awaited, |at| blocked.contains(&at)) {
            let token = awaited.1;
            self.enter(task, Phase::Waits { token });
            return;
        }
        if removes {
            self.edges
                .retain(|(from, to)| *to != awaited || !blocked.contains(from));
        }
        self.going_on |= 1 << task;
        self.enter(task, Phase::Leads { goes_on: true });
    }
}

fn bit(key: Key) -> Set {
    1 << key
}
