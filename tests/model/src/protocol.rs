//! State and steps.
//!
//! Instance 0 is the one that invalidates. Versions of the truth count up; an answer is too old when it lacks a version whose
//! invalidation was acknowledged longer ago than the bound allows: at once where it was invalidated, [`bound`](Protocol::bound)
//! ticks elsewhere.

mod canonical;
mod eviction;
mod instance;
mod possible;
mod transition;

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
    LeaseResult {
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
}
