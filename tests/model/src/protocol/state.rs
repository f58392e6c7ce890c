//! State of the server, the instances and the messages between them.

use super::config::{INSTANCES, KEYS, Protocol, Target};
use super::load::{Age, Lease, Load, Slot, Waiter};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) version: u8,
    pub(super) age: Age,
    pub(super) epoch: u8,
    pub(super) history: u8,
}

/// Contents of a server.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) identity: u8,
    pub(super) records: [Option<Record>; KEYS],
    pub(super) leases: [Option<Lease>; KEYS],
    pub(super) epoch: Option<u8>,
    /// The history, and below the identity of the server on which it began.
    pub(super) history: Option<u8>,
    pub(super) begun_on: u8,
    /// The number of the last message.
    pub(super) sequence: Option<u8>,
}

/// A message of the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    Key(u8),
    Function,
    History(u8),
    /// The sequence was missing and restarts with this message.
    Sequence,
    /// The reply to a barrier: when it was sent and, if control keys may be evicted, what it found.
    Pong(u8, Option<(Known, Control)>),
}

/// A value in the memory of an instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) version: u8,
    /// The number of the fences when the load of the value began.
    pub(super) start: u8,
    pub(super) age: Age,
}

/// State of a link, with the identity of its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Link {
    Down,
    /// It has subscribed, and not attached to the history yet.
    Subscribed {
        server: u8,
    },
    Up {
        server: u8,
    },
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) memory: [Option<Entry>; KEYS],
    pub(super) fences: [u8; KEYS],
    /// Number to which a fence was raised last.
    pub(super) raised: u8,
    pub(super) load: Option<Load>,
    /// A load in the background.
    pub(super) background: Option<Load>,
    pub(super) waiter: Option<Waiter>,
    pub(super) link: Link,
    /// Number of the link, which distinguishes its leases from those of another.
    pub(super) links: u8,
    /// Messages with their numbers.
    pub(super) inbox: Vec<(u8, Message)>,
    /// Number of the last message that was read.
    pub(super) received: u8,
    pub(super) history: u8,
    pub(super) epoch: Option<u8>,
    /// Time from which the last barrier is valid.
    pub(super) proved: Option<u8>,
    /// A barrier in progress: when it was sent, and what was known then.
    pub(super) ping: Option<(u8, Option<Known>)>,
    /// A request to restore evicted control keys that has not reached the server yet.
    pub(super) restore: Option<Restore>,
}

/// An invalidation in progress, at instance 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Invalidation {
    /// The truth has changed, and nothing else was done.
    Committed { key: u8 },
    /// The fence is raised, and the server has not received the invalidation.
    Begun { key: u8, target: Target },
    /// The record is deleted and the message is not published, if these are two steps.
    Deleted { key: u8, target: Target },
    /// The server has applied the invalidation, and the reply has not arrived.
    Done { key: u8 },
}

/// State of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) truth: [u8; KEYS],
    pub(super) written: u8,
    pub(super) now: u8,
    pub(super) primary: Server,
    pub(super) replica: Server,
    /// A primary that was replaced and continues to run, and since when.
    pub(super) old: Option<(Server, u8)>,
    pub(super) invalidation: Option<Invalidation>,
    /// Key, version, and time of each acknowledgement.
    pub(super) acknowledged: Vec<(u8, u8, u8)>,
    pub(super) instances: [Instance; INSTANCES],
    pub(super) broken: u8,
    pub(super) failed: u8,
    pub(super) tokens: u8,
    /// Number of control keys that were evicted.
    pub(super) evicted: u8,
    /// Largest number that a message ever had.
    pub(super) numbers: u8,
    /// Number of epochs and histories that were begun. A fresh one has a number that no other had.
    pub(super) epochs: u8,
    pub(super) histories: u8,
}

/// Control keys as an instance knows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Known {
    pub(super) received: u8,
    pub(super) history: u8,
    pub(super) epoch: Option<u8>,
}

/// Control keys that a barrier found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Control {
    pub(super) sequence: Option<u8>,
    pub(super) history: Option<u8>,
    pub(super) epoch: Option<u8>,
}

/// Request of an instance to restore control keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Restore {
    pub(super) known: Known,
    /// `true` if the barrier found no sequence. Then a later barrier restores the others: without a
    /// sequence the server cannot tell whether this instance received all messages.
    pub(super) sequence: bool,
}

impl Protocol {
    /// Returns `number` if messages have numbers.
    pub(super) fn numbered(&self, number: u8) -> Option<u8> {
        (self.evictions > 0).then_some(number)
    }

    /// Returns the first state: both instances are connected. If values become stale, they have
    /// them; otherwise they have none.
    pub(super) fn first(&self) -> State {
        let (age, version, start) = (Age::Fresh, 0, 0);
        let is_warm = self.windows.is_some();
        let record = is_warm.then_some(Record {
            version,
            age,
            epoch: 1,
            history: 1,
        });
        let entry = is_warm.then_some(Entry {
            version,
            start,
            age,
        });
        let server = Server {
            identity: 1,
            records: std::array::from_fn(|at| record.filter(|_| at < usize::from(self.keys))),
            leases: [None; KEYS],
            epoch: Some(1),
            history: Some(1),
            begun_on: 1,
            sequence: self.numbered(1),
        };
        let instance = Instance {
            memory: std::array::from_fn(|at| entry.filter(|_| at < usize::from(self.keys))),
            fences: [0; KEYS],
            raised: 0,
            load: None,
            background: None,
            waiter: None,
            link: Link::Up { server: 1 },
            links: 0,
            inbox: Vec::new(),
            received: self.numbered(1).unwrap_or(0),
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
    pub(super) fn invalidate(&mut self, key: u8, target: Target, fresh: u8) {
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
    /// Returns a number that no epoch, or no history, had before.
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

    pub(super) fn server(&mut self, identity: u8) -> Option<&mut Server> {
        if self.primary.identity == identity {
            return Some(&mut self.primary);
        }
        let (old, _) = self.old.as_mut()?;
        (old.identity == identity).then_some(old)
    }

    /// Sends a message to all instances that are subscribed at the primary.
    pub(super) fn send(&mut self, number: u8, message: Message) {
        self.numbers = self.numbers.max(number);
        let primary = self.primary.identity;
        for instance in &mut self.instances {
            if instance.server() == Some(primary) {
                instance.inbox.push((number, message));
            }
        }
    }

    pub(super) fn failover(&mut self, lives: bool) {
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

impl Instance {
    /// Closes the link, because invalidations may have been missed.
    pub(super) fn isolate(&mut self) {
        self.invalidated(0, true);
        self.disconnect();
    }

    pub(super) fn slot(&mut self, slot: Slot) -> &mut Option<Load> {
        match slot {
            Slot::Call => &mut self.load,
            Slot::Background => &mut self.background,
        }
    }

    /// Returns all loads.
    pub(super) fn loads(&mut self) -> impl Iterator<Item = &mut Load> {
        self.load.iter_mut().chain(&mut self.background)
    }

    pub(super) fn server(&self) -> Option<u8> {
        match self.link {
            Link::Down => None,
            Link::Subscribed { server } | Link::Up { server } => Some(server),
        }
    }

    /// Raises the fence of a key, or of all keys.
    pub(super) fn invalidated(&mut self, key: u8, all: bool) {
        self.raised += 1;
        for (at, fence) in self.fences.iter_mut().enumerate() {
            if all || at == usize::from(key) {
                *fence = self.raised;
            }
        }
    }

    pub(super) fn disconnect(&mut self) {
        self.link = Link::Down;
        self.links += 1;
        self.inbox.clear();
        self.proved = None;
        self.ping = None;
        self.restore = None;
        self.epoch = None;
    }
}
