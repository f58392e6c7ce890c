//! State and steps.
//!
//! Instance 0 is the one that invalidates. Versions of the truth count up; an answer is too old when it lacks a version whose
//! invalidation was acknowledged longer ago than the bound allows: at once where it was invalidated, [`bound`](Protocol::bound)
//! ticks elsewhere.

mod eviction;

pub use eviction::ControlKey;
use eviction::{Control, Known, Restore};

/// How long a primary that is cut off from its replicas goes on unnoticed, in ticks: its lag limit and a heartbeat.
pub const UNNOTICED: u8 = 1;

const INSTANCES: usize = 2;
const KEYS: usize = 2;

/// What is searched: how much may happen, and which guards are in place.
#[derive(Clone, Debug)]
pub struct Protocol {
    /// Keys that are used.
    pub keys: u8,
    /// Changes of the truth.
    pub writes: u8,
    /// What an invalidation may name.
    pub targets: &'static [Target],
    /// Links that may break.
    pub breaks: u8,
    /// Primaries that may be lost, with what their replica lacks.
    pub failovers: u8,
    /// Whether such a primary goes on, cut off, with the links it has; else it is gone.
    pub old_primary_lives: bool,
    /// Control keys that the server may evict. Messages have numbers only if there are any.
    pub evictions: u8,
    /// Whether leases may end, and loads go away.
    pub given_up: bool,
    /// Ticks that another instance may lag behind.
    pub bound: u8,
    /// Ticks.
    pub time: u8,
    /// The guards.
    pub guards: Guards,
}

/// The guards of the protocol. All are in place, but for the one that a search takes out.
#[derive(Clone, Copy, Debug)]
pub struct Guards {
    /// A fill needs a lease that an invalidation voids.
    pub lease: bool,
    /// Memory answers only what was loaded since the fence.
    pub fence: bool,
    /// Who invalidates raises its fence again when the server has answered.
    pub second_fence: bool,
    /// Memory answers only while a barrier holds.
    pub barrier: bool,
    /// A barrier holds from when it was sent, not from when it was answered.
    pub barrier_from_sent: bool,
    /// What was sent before the answer is read before it.
    pub ordered_channel: bool,
    /// Deletion and message are one step.
    pub one_script: bool,
    /// A new link fences everything.
    pub fence_on_attach: bool,
    /// A server that is another is a new history, and records carry theirs.
    pub history: bool,
    /// A lease is good on the link it came over only.
    pub lease_on_link: bool,
    /// Records carry their function's epoch.
    pub epoch: bool,
    /// What is known of an epoch is forgotten with the message.
    pub epoch_forgotten: bool,
    /// Writes are tried, so that a primary that is cut off is noticed.
    pub heartbeat: bool,
    /// An evicted control key is restored only by an instance that has heard everything.
    pub restored_if_all_heard: bool,
    /// A missing sequence is begun anew and nothing else is restored in that step: without it nobody
    /// knows who has heard everything.
    pub sequence_restored_alone: bool,
    /// A sequence begins above every number that it ever had, and a message says so. Otherwise it
    /// continues from the number that its caller has heard, and an old restoration can match it.
    pub sequence_begins_above: bool,
}

impl Guards {
    /// All of them.
    pub const ALL: Self = Self {
        lease: true,
        fence: true,
        second_fence: true,
        barrier: true,
        barrier_from_sent: true,
        ordered_channel: true,
        one_script: true,
        fence_on_attach: true,
        history: true,
        lease_on_link: true,
        epoch: true,
        epoch_forgotten: true,
        heartbeat: true,
        restored_if_all_heard: true,
        sequence_restored_alone: true,
        sequence_begins_above: true,
    };
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Record {
    version: u8,
    epoch: u8,
    history: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lease {
    token: u8,
    epoch: u8,
    history: u8,
}

/// What a server holds.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Server {
    identity: u8,
    records: [Option<Record>; KEYS],
    leases: [Option<Lease>; KEYS],
    epoch: Option<u8>,
    /// The history, and the identity it was begun on.
    history: Option<u8>,
    begun_on: u8,
    /// The number of the last message.
    sequence: Option<u8>,
}

/// What an invalidation names.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Target {
    /// The key whose truth changed.
    Key,
    /// The function.
    Function,
    /// The namespace, which begins a new history.
    Namespace,
}

/// A message of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Message {
    Key(u8),
    Function,
    History(u8),
    /// The sequence was missing and begins anew with this message.
    Sequence,
    /// The answer to a barrier that was sent then, and what it found, where control keys may be evicted.
    Pong(u8, Option<(Known, Control)>),
}

/// A load under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Load {
    /// Read from the server, not yet in memory.
    Read { key: u8, version: u8, start: u8 },
    /// The lease is there, the body has not read the truth.
    Leased {
        key: u8,
        start: u8,
        lease: Lease,
        link: u8,
    },
    /// The body has.
    Loaded {
        key: u8,
        start: u8,
        lease: Lease,
        link: u8,
        version: u8,
    },
}

/// A link, by the server it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Link {
    Down,
    /// Subscribed, and not attached yet.
    Subscribed {
        server: u8,
    },
    Up {
        server: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Instance {
    memory: [Option<(u8, u8)>; KEYS],
    fences: [u8; KEYS],
    /// The last number that a fence was raised to.
    raised: u8,
    load: Option<Load>,
    link: Link,
    /// Counts links, so that a lease is told from one of another.
    links: u8,
    /// Messages with their numbers.
    inbox: Vec<(u8, Message)>,
    /// The number of the last message that was read.
    heard: u8,
    history: u8,
    epoch: Option<u8>,
    /// From when a barrier holds.
    proved: Option<u8>,
    /// A barrier that is on its way: when it was sent, and what was known then.
    ping: Option<(u8, Option<Known>)>,
    /// A restoration of evicted control keys that is on its way to the server.
    restore: Option<Restore>,
}

/// An invalidation under way, at instance 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Invalidation {
    /// The truth has changed; nothing is said yet.
    Committed { key: u8 },
    /// The fence is raised, the server is not told.
    Begun { key: u8, target: Target },
    /// Deleted and not told, where that is two steps.
    Deleted { key: u8, target: Target },
    /// The server is told; its answer is not here.
    Done { key: u8 },
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    truth: [u8; KEYS],
    written: u8,
    now: u8,
    primary: Server,
    replica: Server,
    /// A primary that was replaced and goes on, and since when.
    old: Option<(Server, u8)>,
    invalidation: Option<Invalidation>,
    /// Key, version, and when it was acknowledged.
    acknowledged: Vec<(u8, u8, u8)>,
    instances: [Instance; INSTANCES],
    broken: u8,
    failed: u8,
    tokens: u8,
    /// Control keys that were evicted.
    evicted: u8,
    /// The largest number that a message ever had.
    numbers: u8,
    /// Epochs and histories that were begun: a fresh one has a number that no other had.
    epochs: u8,
    histories: u8,
}

/// One thing that happens.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The truth of a key changes.
    Commit(u8),
    /// Instance 0 raises its fence.
    BeginInvalidation(Target),
    /// The script runs: deletion and message, or the deletion alone where it is two steps.
    Invalidate,
    /// The second of two steps.
    Tell,
    /// Who was to tell dies.
    DieBeforeTelling,
    /// The answer is there.
    Acknowledge,
    /// A call on an instance.
    Call(u8, u8),
    /// What was read goes into memory.
    Keep(u8),
    /// The body reads the truth.
    RunBody(u8),
    /// The fill runs.
    Fill(u8),
    /// A load goes away.
    DropLoad(u8),
    /// A message is read.
    Deliver(u8),
    /// A message is lost on its way, where the channel allows that.
    Lose(u8),
    /// A barrier is sent.
    Ping(u8),
    /// The server answers it.
    Pong(u8),
    /// A link breaks.
    Break(u8),
    /// A link is made and subscribed.
    Subscribe(u8),
    /// It is attached.
    Attach(u8),
    /// A lease's time is over.
    LeaseEnds(u8),
    /// The server evicts a control key.
    Evict(ControlKey),
    /// The server restores the control keys that an instance found missing, if it may.
    Restore(u8),
    /// The replica catches up.
    Replicate,
    /// The primary is lost, or cut off.
    Failover {
        /// It goes on with the links it has.
        lives: bool,
    },
    /// Time passes.
    Tick,
}

/// What must not happen.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// Memory answered with a value that was invalidated too long ago.
    StaleFromMemory,
    /// The server's record was taken for valid, though it was invalidated too long ago.
    StaleFromServer,
}

impl Protocol {
    /// Both instances are linked and know nothing.
    #[must_use]
    pub fn start(&self) -> State {
        let server = Server {
            identity: 1,
            records: [None; KEYS],
            leases: [None; KEYS],
            epoch: Some(1),
            history: Some(1),
            begun_on: 1,
            sequence: self.numbered(1),
        };
        let instance = Instance {
            memory: [None; KEYS],
            fences: [0; KEYS],
            raised: 0,
            load: None,
            link: Link::Up { server: 1 },
            links: 0,
            inbox: Vec::new(),
            heard: self.numbered(1).unwrap_or(0),
            history: 1,
            epoch: None,
            proved: Some(0),
            ping: None,
            restore: None,
        };
        State {
            truth: [0; KEYS],
            written: 0,
            now: 0,
            replica: server.clone(),
            primary: server,
            old: None,
            invalidation: None,
            acknowledged: Vec::new(),
            instances: std::array::from_fn(|_| instance.clone()),
            broken: 0,
            failed: 0,
            tokens: 0,
            evicted: 0,
            numbers: self.numbered(1).unwrap_or(0),
            epochs: 1,
            histories: 1,
        }
    }

    /// What can happen next.
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
                steps.extend([Step::Tell, Step::DieBeforeTelling]);
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

    /// What follows a step; `None` where nothing changes.
    ///
    /// # Errors
    /// When it must not have happened.
    pub fn take(&self, state: &State, step: Step) -> Result<Option<State>, Wrong> {
        let mut next = state.clone();
        match step {
            Step::Commit(key) => {
                next.written += 1;
                next.truth[usize::from(key)] += 1;
                next.invalidation = Some(Invalidation::Committed { key });
            }
            Step::BeginInvalidation(target) => {
                let Some(Invalidation::Committed { key }) = next.invalidation else {
                    return Ok(None);
                };
                next.instances[0].invalidated(key, target != Target::Key);
                next.invalidation = Some(Invalidation::Begun { key, target });
            }
            Step::Invalidate => {
                let Some(Invalidation::Begun { key, target }) = next.invalidation else {
                    return Ok(None);
                };
                let Link::Up { server } = next.instances[0].link else {
                    return Ok(None);
                };
                let fresh = next.fresh(target);
                let heard = next.instances[0].heard;
                // A primary that is cut off refuses writes, where it was told to.
                let Some(store) = next
                    .server(server)
                    .filter(|store| store.identity == state.primary.identity)
                else {
                    next.instances[0].disconnect();
                    return Ok(Some(self.canonical(next)));
                };
                store.invalidate(key, target, fresh);
                if self.guards.one_script {
                    self.publish(&mut next, invalidation(key, target, fresh), heard);
                    next.invalidation = Some(Invalidation::Done { key });
                } else {
                    next.invalidation = Some(Invalidation::Deleted { key, target });
                }
            }
            Step::Tell => {
                let Some(Invalidation::Deleted { key, target }) = next.invalidation else {
                    return Ok(None);
                };
                let fresh = next.histories;
                let heard = next.instances[0].heard;
                self.publish(&mut next, invalidation(key, target, fresh), heard);
                next.invalidation = Some(Invalidation::Done { key });
            }
            Step::DieBeforeTelling => {
                let Some(Invalidation::Deleted { key, .. }) = next.invalidation else {
                    return Ok(None);
                };
                next.invalidation = Some(Invalidation::Done { key });
            }
            Step::Acknowledge => {
                let Some(Invalidation::Done { key }) = next.invalidation else {
                    return Ok(None);
                };
                if self.guards.second_fence {
                    next.instances[0].invalidated(key, true);
                }
                next.instances[0].epoch = None;
                let version = next.truth[usize::from(key)];
                next.acknowledged.push((key, version, next.now));
                next.invalidation = None;
            }
            Step::Call(at, key) => return self.call(next, at, key),
            Step::Keep(at) => {
                let instance = &mut next.instances[usize::from(at)];
                if let Some(Load::Read {
                    key,
                    version,
                    start,
                }) = instance.load.take()
                {
                    instance.memory[usize::from(key)] = Some((version, start));
                }
            }
            Step::RunBody(at) => {
                let instance = &mut next.instances[usize::from(at)];
                if let Some(Load::Leased {
                    key,
                    start,
                    lease,
                    link,
                }) = instance.load
                {
                    instance.load = Some(Load::Loaded {
                        key,
                        start,
                        lease,
                        link,
                        version: state.truth[usize::from(key)],
                    });
                }
            }
            Step::Fill(at) => self.fill(&mut next, at),
            Step::DropLoad(at) => next.instances[usize::from(at)].load = None,
            Step::Deliver(at) => self.deliver(&mut next, at),
            Step::Lose(at) => {
                next.broken += 1;
                next.instances[usize::from(at)].inbox.remove(0);
            }
            Step::Ping(at) => {
                let known = self.known(&state.instances[usize::from(at)]);
                next.instances[usize::from(at)].ping = Some((state.now, known));
            }
            Step::Pong(at) => {
                let found = self.found(&next, at);
                let instance = &mut next.instances[usize::from(at)];
                if let Some((sent, known)) = instance.ping.take() {
                    if self.guards.ordered_channel {
                        let found = known.zip(found);
                        instance.inbox.push((0, Message::Pong(sent, found)));
                    } else {
                        instance.proved = instance.proved.max(Some(sent));
                    }
                }
            }
            Step::Break(at) => {
                next.broken += 1;
                next.instances[usize::from(at)].disconnect();
            }
            Step::Subscribe(at) => {
                let identity = next.primary.identity;
                next.instances[usize::from(at)].link = Link::Subscribed { server: identity };
            }
            Step::Attach(at) => self.attach(&mut next, at),
            Step::LeaseEnds(key) => next.primary.leases[usize::from(key)] = None,
            Step::Evict(key) => next.evict(key),
            Step::Restore(at) => self.restore(&mut next, at),
            Step::Replicate => {
                let replicated = Server {
                    identity: next.replica.identity,
                    ..next.primary.clone()
                };
                if next.replica == replicated {
                    return Ok(None);
                }
                next.replica = replicated;
            }
            Step::Failover { lives } => next.failover(lives),
            Step::Tick => {
                next.now += 1;
                // Its heartbeats are refused by now.
                if let Some((old, since)) = &next.old
                    && self.guards.heartbeat
                    && next.now > since + UNNOTICED
                {
                    let old = old.identity;
                    for instance in &mut next.instances {
                        if instance.server() == Some(old) {
                            instance.disconnect();
                        }
                    }
                }
            }
        }
        Ok(Some(self.canonical(next)))
    }

    /// The same state without what no longer matters.
    fn canonical(&self, state: State) -> State {
        let no_more_failovers = state.failed >= self.failovers;
        state.canonical(self, no_more_failovers)
    }

    /// An instance reads the next message of its channel.
    fn deliver(&self, next: &mut State, at: u8) {
        let now = next.now;
        let instance = &mut next.instances[usize::from(at)];
        let (number, message) = instance.inbox.remove(0);
        if let Message::Pong(sent, found) = message {
            if let Some((known, found)) = found
                && !instance.judge(known, found)
            {
                return;
            }
            let from = if self.guards.barrier_from_sent {
                sent
            } else {
                now
            };
            instance.proved = instance.proved.max(Some(from));
            return;
        }
        let is_next = match message {
            Message::Sequence => number > instance.heard,
            _ => number == instance.heard + 1,
        };
        if self.evictions > 0 && !is_next {
            instance.isolate();
            return;
        }
        instance.heard = number;
        match message {
            Message::Key(key) => instance.invalidated(key, false),
            Message::Function => {
                instance.invalidated(0, true);
                if self.guards.epoch_forgotten {
                    instance.epoch = None;
                }
            }
            Message::History(history) => {
                instance.history = history;
                instance.epoch = None;
                instance.invalidated(0, true);
            }
            Message::Sequence | Message::Pong(..) => {}
        }
    }

    /// A call: from memory, else from the server, else it takes a lease.
    fn call(&self, mut next: State, at: u8, key: u8) -> Result<Option<State>, Wrong> {
        let now = next.now;
        let index = usize::from(key);
        let instance = &next.instances[usize::from(at)];
        if let Some((version, start)) = instance.memory[index]
            && (!self.guards.fence || start >= instance.fences[index])
            && (!self.guards.barrier
                || instance
                    .proved
                    .is_some_and(|proved| now <= proved + self.bound))
        {
            return if self.is_too_old(&next, at, key, version) {
                Err(Wrong::StaleFromMemory)
            } else {
                Ok(None)
            };
        }
        let (Link::Up { server }, start) = (instance.link, instance.raised) else {
            return Ok(None);
        };
        let coherent = instance
            .proved
            .is_some_and(|proved| now <= proved + self.bound);
        let known = instance.epoch.filter(|_| coherent);
        let (known_history, links) = (instance.history, instance.links);
        let Some(store) = next.server(server).cloned() else {
            return Ok(None);
        };
        // By what is known, or by what is read with it.
        let (epoch, history) = match known {
            Some(epoch) => (Some(epoch), Some(known_history)),
            None => (store.epoch, store.history),
        };
        let instance = &mut next.instances[usize::from(at)];
        instance.epoch = epoch.or(instance.epoch);
        if let Some(record) = store.records[index]
            && (!self.guards.epoch || Some(record.epoch) == epoch)
            && (!self.guards.history || Some(record.history) == history)
        {
            instance.load = Some(Load::Read {
                key,
                version: record.version,
                start,
            });
            return if self.is_too_old(&next, at, key, record.version) {
                Err(Wrong::StaleFromServer)
            } else {
                Ok(Some(self.canonical(next)))
            };
        }
        if self.guards.lease
            && store.leases[index].is_some_and(|lease| {
                Some(lease.epoch) == store.epoch && Some(lease.history) == store.history
            })
        {
            return Ok(None);
        }
        let writes = next.primary.identity == server;
        // Without a history on the server no lease is given.
        let (true, Some(history)) = (writes, store.history) else {
            return Ok(None);
        };
        let epoch = self.epoch_of_lease(&mut next, at);
        next.tokens += 1;
        let lease = Lease {
            token: next.tokens,
            epoch,
            history,
        };
        next.primary.leases[index] = Some(lease);
        next.instances[usize::from(at)].epoch = Some(epoch);
        next.instances[usize::from(at)].load = Some(Load::Leased {
            key,
            start,
            lease,
            link: links,
        });
        Ok(Some(self.canonical(next)))
    }

    fn fill(&self, next: &mut State, at: u8) {
        let instance = &mut next.instances[usize::from(at)];
        let Some(Load::Loaded {
            key,
            start,
            lease,
            link,
            version,
        }) = instance.load.take()
        else {
            return;
        };
        instance.memory[usize::from(key)] = Some((version, start));
        let on_its_link = !self.guards.lease_on_link || instance.links == link;
        let Link::Up { server } = instance.link else {
            return;
        };
        let store = &mut next.primary;
        let index = usize::from(key);
        let held = store.leases[index].is_some_and(|held| held.token == lease.token);
        if server != store.identity || !on_its_link || self.guards.lease && !held {
            return;
        }
        if self.guards.lease
            && self.guards.lease_on_link
            && (store.epoch != Some(lease.epoch) || store.history != Some(lease.history))
        {
            return;
        }
        let current = store.history.filter(|_| !self.guards.lease_on_link);
        store.records[index] = Some(Record {
            version,
            epoch: lease.epoch,
            history: current.unwrap_or(lease.history),
        });
        store.leases[index] = None;
    }

    fn attach(&self, next: &mut State, at: u8) {
        let Link::Subscribed { server } = next.instances[usize::from(at)].link else {
            return;
        };
        if next.primary.identity != server {
            next.instances[usize::from(at)].disconnect();
            return;
        }
        if self.guards.fence_on_attach {
            next.instances[usize::from(at)].invalidated(0, true);
        }
        self.begin_sequence(next, 0);
        let is_another = next.primary.begun_on != server || next.primary.history.is_none();
        if self.guards.history && is_another {
            next.histories += 1;
            let fresh = next.histories;
            next.primary.history = Some(fresh);
            next.primary.begun_on = server;
            self.publish(next, Message::History(fresh), 0);
        }
        let (history, sequence) = (next.primary.history, next.primary.sequence);
        let instance = &mut next.instances[usize::from(at)];
        instance.link = Link::Up { server };
        instance.history = history.unwrap_or(0);
        instance.epoch = None;
        if self.evictions > 0 {
            // The messages before the reply were read before it.
            instance.inbox.clear();
            instance.heard = sequence.unwrap_or(0);
        }
    }

    /// Sends a message with the next number. The publisher has `heard` so many.
    fn publish(&self, next: &mut State, message: Message, heard: u8) {
        self.begin_sequence(next, heard);
        let number = next.primary.sequence.map(|last| last + 1);
        next.primary.sequence = number;
        next.send(number.unwrap_or(0), message);
    }

    fn is_too_old(&self, state: &State, at: u8, key: u8, version: u8) -> bool {
        let bound = match state.old {
            Some(_) => self.bound + UNNOTICED,
            None if at == 0 && self.failovers == 0 => 0,
            None => self.bound,
        };
        state.acknowledged.iter().any(|(of, newer, when)| {
            *of == key && *newer > version && (state.now > when + bound || at == 0 && bound == 0)
        })
    }
}

fn invalidation(key: u8, target: Target, history: u8) -> Message {
    match target {
        Target::Key => Message::Key(key),
        Target::Function => Message::Function,
        Target::Namespace => Message::History(history),
    }
}

impl Server {
    fn invalidate(&mut self, key: u8, target: Target, fresh: u8) {
        match target {
            Target::Key => {
                self.records[usize::from(key)] = None;
                self.leases[usize::from(key)] = None;
            }
            Target::Function => self.epoch = Some(fresh),
            Target::Namespace => self.history = Some(fresh),
        }
    }
}

impl Instance {
    fn server(&self) -> Option<u8> {
        match self.link {
            Link::Down => None,
            Link::Subscribed { server } | Link::Up { server } => Some(server),
        }
    }

    /// Raises the fence of a key, or of all.
    fn invalidated(&mut self, key: u8, all: bool) {
        self.raised += 1;
        for (at, fence) in self.fences.iter_mut().enumerate() {
            if all || at == usize::from(key) {
                *fence = self.raised;
            }
        }
    }

    fn disconnect(&mut self) {
        self.link = Link::Down;
        self.links += 1;
        self.inbox.clear();
        self.proved = None;
        self.ping = None;
        self.restore = None;
        self.epoch = None;
    }
}

impl State {
    fn server(&mut self, identity: u8) -> Option<&mut Server> {
        if self.primary.identity == identity {
            return Some(&mut self.primary);
        }
        let (old, _) = self.old.as_mut()?;
        (old.identity == identity).then_some(old)
    }

    /// Sends a message to all who are subscribed at the primary.
    fn send(&mut self, number: u8, message: Message) {
        self.numbers = self.numbers.max(number);
        let primary = self.primary.identity;
        for instance in &mut self.instances {
            if instance.server() == Some(primary) {
                instance.inbox.push((number, message));
            }
        }
    }

    fn failover(&mut self, lives: bool) {
        self.failed += 1;
        let identity = self.primary.identity + 1;
        let lost = std::mem::replace(
            &mut self.primary,
            Server {
                identity,
                ..self.replica.clone()
            },
        );
        self.old = lives.then_some((lost, self.now));
        if !lives {
            for instance in &mut self.instances {
                instance.disconnect();
            }
        }
    }

    /// The same state under the names that it would have if nothing irrelevant had happened before.
    fn canonical(mut self, protocol: &Protocol, replica_is_done: bool) -> Self {
        let now = self.now;
        // How long ago counts only as far as a bound reaches.
        for (.., when) in &mut self.acknowledged {
            *when = (*when).max(now.saturating_sub(protocol.bound + UNNOTICED + 1));
        }
        for instance in &mut self.instances {
            instance.proved = instance
                .proved
                .filter(|proved| now <= proved + protocol.bound);
            // What is not answered any more is as good as not there.
            if protocol.guards.fence {
                let fences = instance.fences;
                for (entry, fence) in instance.memory.iter_mut().zip(fences) {
                    *entry = entry.filter(|(_, start)| *start >= fence);
                }
            }
        }
        // Entries that no fence admits, and numbers of fences, but for their order.
        for instance in &mut self.instances {
            let mut numbers: Vec<u8> = instance.fences.to_vec();
            numbers.push(instance.raised);
            numbers.extend(instance.memory.iter().flatten().map(|(_, start)| *start));
            numbers.extend(instance.load.map(|load| load.start()));
            numbers.sort_unstable();
            numbers.dedup();
            let rank = |number: u8| {
                numbers
                    .iter()
                    .position(|known| *known == number)
                    .unwrap_or(0) as u8
            };
            for fence in &mut instance.fences {
                *fence = rank(*fence);
            }
            instance.raised = rank(instance.raised);
            for (_, start) in instance.memory.iter_mut().flatten() {
                *start = rank(*start);
            }
            if let Some(load) = &mut instance.load {
                let start = rank(load.start());
                load.set_start(start);
            }
            // Whether a lease is of this link is all that counts.
            if let Some(Load::Leased { link, .. } | Load::Loaded { link, .. }) = &mut instance.load
            {
                *link = u8::from(*link == instance.links);
                instance.links = 1;
            } else {
                instance.links = 1;
            }
        }
        if replica_is_done {
            self.replica = Server {
                identity: self.replica.identity,
                records: [None; KEYS],
                leases: [None; KEYS],
                ..self.primary.clone()
            };
        }
        // Tokens in the order in which they are met.
        let mut known = Vec::new();
        let mut rename = |token: &mut u8| {
            let at = known
                .iter()
                .position(|other| other == token)
                .unwrap_or_else(|| {
                    known.push(*token);
                    known.len() - 1
                });
            *token = at as u8 + 1;
        };
        let servers = [
            Some(&mut self.primary),
            Some(&mut self.replica),
            self.old.as_mut().map(|(old, _)| old),
        ];
        for server in servers.into_iter().flatten() {
            for lease in server.leases.iter_mut().flatten() {
                rename(&mut lease.token);
            }
        }
        for instance in &mut self.instances {
            if let Some(Load::Leased { lease, .. } | Load::Loaded { lease, .. }) =
                &mut instance.load
            {
                rename(&mut lease.token);
            }
        }
        self.tokens = known.len() as u8;
        self.rename_numbers();
        self
    }
}

impl Load {
    fn start(&self) -> u8 {
        match self {
            Self::Read { start, .. } | Self::Leased { start, .. } | Self::Loaded { start, .. } => {
                *start
            }
        }
    }

    fn set_start(&mut self, to: u8) {
        match self {
            Self::Read { start, .. } | Self::Leased { start, .. } | Self::Loaded { start, .. } => {
                *start = to
            }
        }
    }
}
