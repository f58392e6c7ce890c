//! State of the server, of the instances, and of the channel between them.

use super::config::{Events, INSTANCES, Ledger, Start};
use super::message::Message;
use super::mirror::{Mirror, View};
use super::server::{Generation, Mark, Record, Server, Subject};

/// The newest versions that were invalidated, and that were expired. Older ones must not be
/// returned, or not be returned as fresh.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Needed {
    pub(super) hard: u8,
    pub(super) soft: u8,
}

/// A load of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    pub(super) version: u8,
    pub(super) mark: Mark,
    /// The tag was invalidated, or the key expired, since the load began.
    pub(super) overtaken: bool,
}

/// A read that asks the store: it has the record and one generation of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) record: Record,
    pub(super) needed: Needed,
    pub(super) first: Option<Generation>,
    /// The tag was invalidated, or the key expired, since the read began.
    pub(super) overtaken: bool,
}

/// An invalidation that the server has executed and whose reply has not arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Sent {
    pub(super) subject: Subject,
    pub(super) version: u8,
    pub(super) mark: Mark,
    /// The reply has arrived, and has taken one of its two effects.
    pub(super) half_done: bool,
}

/// A queued invalidation of the tag, or of all tags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Queued {
    pub(super) version: u8,
    pub(super) all: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) linked: bool,
    pub(super) inbox: Vec<Message>,
    /// The first message has taken one of its two effects.
    pub(super) half_done: bool,
    pub(super) mirror: Mirror,
    pub(super) memory: Option<u8>,
    pub(super) load: Option<Load>,
    pub(super) read: Option<Read>,
    pub(super) sent: Option<Sent>,
    pub(super) queued: Option<Queued>,
    /// Versions that the last barrier proves; `None` before the first barrier of a link.
    pub(super) proved: Option<Needed>,
    /// Versions that this instance has invalidated itself.
    pub(super) own: Needed,
}

/// State of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) truth: u8,
    pub(super) server: Server,
    pub(super) replica: Option<Server>,
    pub(super) acknowledged: Needed,
    pub(super) instances: [Instance; INSTANCES],
    /// The events that are left.
    pub(super) left: Events,
}

impl Needed {
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            hard: self.hard.max(other.hard),
            soft: self.soft.max(other.soft),
        }
    }

    /// Returns what an acknowledged invalidation, or expiry, of a version requires.
    pub(super) fn of(subject: Subject, version: u8) -> Self {
        let (hard, soft) = match subject {
            Subject::Tag | Subject::All => (version, 0),
            Subject::KeyExpiry | Subject::Expiry => (0, version),
            Subject::Other => (0, 0),
        };
        Self { hard, soft }
    }
}

impl Sent {
    /// Returns the reply, as the message that announces the same.
    pub(super) fn reply(&self) -> Message {
        let Mark { base, number } = self.mark;
        match self.subject {
            Subject::Tag => Message::Tag { base, number },
            Subject::Other => Message::Other { base },
            Subject::KeyExpiry | Subject::Expiry => Message::Expiry { base, number },
            Subject::All => Message::All { base },
        }
    }
}

impl Ledger {
    /// Returns the first state: both instances have links that are coherent.
    pub(super) fn first(&self) -> State {
        let history = 1;
        let mark = Mark { base: 1, number: 0 };
        let is_warm = self.start != Start::Cold;
        let server = Server {
            history,
            ledger: is_warm.then(|| Generation::begun(1)),
            old: None,
            record: is_warm.then_some(Record {
                version: 0,
                history,
                mark,
            }),
            lease: None,
        };
        let view = View {
            base: u8::from(is_warm),
            ..View::default()
        };
        let instance = Instance {
            linked: true,
            inbox: Vec::new(),
            half_done: false,
            mirror: Mirror::Known(view),
            memory: (is_warm && self.memory).then_some(0),
            load: None,
            read: None,
            sent: None,
            queued: None,
            proved: Some(Needed::default()),
            own: Needed::default(),
        };
        State {
            truth: 0,
            server,
            replica: (self.events.failovers > 0).then_some(server),
            acknowledged: Needed::default(),
            instances: std::array::from_fn(|at| {
                let mut instance = instance.clone();
                let is_reader = self.readers.contains(&(at as u8));
                if !is_reader {
                    instance.memory = None;
                }
                if !is_reader || self.start == Start::WithoutMirrors {
                    instance.mirror = Mirror::Unknown;
                }
                instance
            }),
            left: self.events,
        }
    }
}

impl Ledger {
    /// Sends messages to all instances that are subscribed.
    pub(super) fn publish(&self, next: &mut State, messages: &[Message]) {
        for at in self.readers {
            let instance = next.at(*at);
            if instance.linked {
                instance.inbox.extend_from_slice(messages);
            }
        }
    }
}

impl State {
    pub(super) fn at(&mut self, at: u8) -> &mut Instance {
        &mut self.instances[usize::from(at)]
    }

    /// Returns what a call of an instance must not be older than, if it asks the store.
    pub(super) fn needed(&self, at: u8) -> Needed {
        self.acknowledged.max(self.instances[usize::from(at)].own)
    }
}

impl Instance {
    /// Returns what a call must not be older than if it is answered by what the channel has
    /// announced; `None` if the instance is not coherent.
    pub(super) fn needed(&self) -> Option<Needed> {
        self.proved.map(|proved| proved.max(self.own))
    }

    /// Raises the fences of memory.
    pub(super) fn void(&mut self) {
        self.memory = None;
        if let Some(load) = &mut self.load {
            load.overtaken = true;
        }
        if let Some(read) = &mut self.read {
            read.overtaken = true;
        }
    }

    /// The link is lost. An invalidation without a reply is queued.
    pub(super) fn disconnect(&mut self, keeps_mirror: bool) {
        self.linked = false;
        self.inbox.clear();
        self.half_done = false;
        self.proved = None;
        self.load = None;
        self.read = None;
        self.void();
        if !keeps_mirror {
            self.mirror = Mirror::Unknown;
        }
        let Some(sent) = self.sent.take() else {
            return;
        };
        if sent.subject != Subject::Other {
            self.queue(sent.version, sent.subject == Subject::All);
        }
    }

    /// Queues an invalidation. The instance does not return an older value from now on.
    pub(super) fn queue(&mut self, version: u8, all: bool) {
        let all = all || self.queued.is_some_and(|queued| queued.all);
        self.queued = Some(Queued { version, all });
        self.own.hard = self.own.hard.max(version);
        self.void();
    }
}
