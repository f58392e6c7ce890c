//! The channel on which instances announce invalidations to each other.
//!
//! Messages are applied where they are read, in the reader of the connection and in its order. So
//! once a reply on that connection is seen, every message before it has taken effect. Messages are
//! numbered without gaps, so a missing message is noticed.
//!
//! The bus receives from one link. When a link is lost its connections are closed, but its reader
//! may be in the middle of a message. Such a message is ignored.
//!
//! # Invariants
//! 1. Messages of one link are applied in the order of their numbers, or the link is lost.
//! 2. A message of an earlier link changes nothing.
//! 3. No waker runs under the lock.

use std::iter;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Coherence;
use cache_core::tier::kit::LinkCounters;
use cache_core::tier::{FunctionKey, Peers};
use redis::{PushInfo, PushKind, Value};

use crate::epochs::{Epochs, KnownEpochs};
use crate::ledger::Kind;
use crate::message::{Digests, Entry, Message, Payload};
use crate::mirror::{Change, Event, Mirror};
use crate::server::Identity;
use crate::waiters::LeaseWaiters;

/// Applies messages, and holds the state that they change.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) channel: String,
    pub(crate) peers: Peers,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) epochs: Epochs,
    pub(crate) mirror: Mirror,
    pub(crate) waiters: Arc<LeaseWaiters>,
    pub(crate) counters: Arc<LinkCounters>,
    /// Locked while a message is judged and applied to epochs and fences, so that a link cannot be
    /// replaced in between.
    received: Mutex<Received>,
}

/// The numbers of the messages that arrived over one link.
#[derive(Debug, Default)]
struct Received {
    /// The number of the link; zero for none.
    link: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// The last message that the attachment of the link counted. Some servers send the reply before
    /// the messages of the same script.
    attached: Option<u64>,
    /// The number of times that the sequence restarted.
    restarts: u64,
    /// `restarts` as of the last barrier that found the history.
    restarts_with_history: u64,
    /// The server that the link is attached to.
    server: Option<Arc<Identity>>,
    /// The server of the previous link, and the number of the last message from it.
    previous: Option<(Arc<Identity>, u64)>,
}

/// The state of an instance that has applied every message up to a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    /// The number of the last message.
    pub(crate) last: u64,
    pub(crate) history: u64,
    pub(crate) epochs: KnownEpochs,
    /// The number of times that the sequence restarted on this link.
    pub(crate) restarts: u64,
}

/// The waiters that a message wakes.
enum Wake<'a> {
    Nobody,
    Key(u64),
    Keys(Digests<'a>),
    Failed(u64),
    All,
}

/// Result of a payload.
enum Outcome<'a> {
    Applied(Wake<'a>),
    /// Messages before this one are missing.
    Gap,
}

impl Bus {
    pub(crate) fn new(channel: String, peers: Peers, coherence: Coherence) -> Self {
        let counters = Arc::new(LinkCounters::noting(&peers));
        Self {
            channel,
            peers,
            coherence: Arc::new(coherence),
            epochs: Epochs::default(),
            mirror: Mirror::default(),
            waiters: Arc::default(),
            counters,
            received: Mutex::default(),
        }
    }

    /// Receives from the link with that number from now on, and from no other. Called before the
    /// link subscribes.
    pub(crate) fn open(&self, link: u64) {
        let mut received = self.lock();
        received.end_link();
        received.link = link;
        self.mirror.reset();
    }

    /// Stops receiving from the link with that number.
    pub(crate) fn close(&self, link: u64) {
        let mut received = self.lock();
        if received.link == link {
            received.end_link();
            received.link = 0;
            self.mirror.reset();
        }
    }

    /// Returns the number of the last message that ever arrived from this server, or zero if the
    /// previous link was to another one.
    pub(crate) fn last_message_of(&self, server: &Identity) -> u64 {
        let received = self.lock();
        match &received.previous {
            Some((previous, last)) if **previous == *server => *last,
            Some(_) | None => 0,
        }
    }

    /// Notes the reply to the attachment of a link: `last` was the number of the last message on
    /// this server. The reply came over the channel's connection, after it was subscribed. Returns
    /// `false` if messages are missing already, or if the link is closed.
    pub(crate) fn attached(&self, link: u64, server: &Arc<Identity>, last: u64) -> bool {
        let mut received = self.lock();
        if received.link != link {
            return false;
        }
        let is_whole = received
            .first
            .is_none_or(|first| first <= last.saturating_add(1));
        received.last = received.last.max(Some(last));
        received.attached = Some(last);
        received.first.get_or_insert(last);
        received.server = Some(Arc::clone(server));
        is_whole
    }

    /// Returns the state that the messages of the link with that number have led to; `None` if the
    /// link is closed, or has no history.
    pub(crate) fn snapshot(&self, link: u64) -> Option<Snapshot> {
        let received = self.lock();
        if received.link != link {
            return None;
        }
        let (history, epochs) = self.epochs.all()?;
        Some(Snapshot {
            last: received.last?,
            history,
            epochs,
            restarts: received.restarts,
        })
    }

    /// Notes that a barrier found the history, and that the sequence had restarted `restarts` times
    /// when the barrier was sent.
    pub(crate) fn found_history(&self, link: u64, restarts: u64) {
        let mut received = self.lock();
        if received.link == link {
            received.restarts_with_history = received.restarts_with_history.max(restarts);
        }
    }

    /// Returns `true` if the sequence restarted since a barrier last found the history.
    pub(crate) fn has_restarted(&self) -> bool {
        let received = self.lock();
        received.restarts > received.restarts_with_history
    }

    /// Returns the number of the last message, or zero if there was none, and the epoch of the
    /// function as of that message.
    pub(crate) fn last_message_and_epoch(&self, function: &FunctionKey) -> (u64, Option<u64>) {
        let received = self.lock();
        let epoch = self.epochs.stamp(function).map(|stamp| stamp.epoch);
        (received.last.unwrap_or(0), epoch)
    }

    /// Fences everything: it is unknown what was invalidated.
    pub(crate) fn fence_all(&self, history: Option<u64>) {
        self.epochs.begin(history);
        self.peers.invalidated_all();
        self.waiters.wake_all();
    }

    /// Applies a payload that the reader of the link with that number received. Returns `false` if
    /// the link cannot be trusted any more.
    fn receive(&self, link: u64, payload: &[u8]) -> bool {
        let outcome = {
            let mut received = self.lock();
            if received.link != link {
                return true;
            }
            self.judge(&mut received, payload)
        };
        self.mirror.announce();
        match outcome {
            Outcome::Applied(Wake::Nobody) => {}
            Outcome::Applied(Wake::Key(digest)) => self.waiters.wake(digest),
            Outcome::Applied(Wake::Keys(digests)) => {
                digests.each().for_each(|digest| self.waiters.wake(digest));
            }
            Outcome::Applied(Wake::Failed(digest)) => self.waiters.load_failed(digest),
            Outcome::Applied(Wake::All) => self.waiters.wake_all(),
            Outcome::Gap => {
                self.counters.gap();
                tracing::warn!(
                    target: "multi_tier_cached::redis",
                    channel = self.channel,
                    "messages of other instances are missing: entries of shared functions in memory are not used"
                );
                self.waiters.wake_all();
                return false;
            }
        }
        true
    }

    fn judge<'a>(&self, received: &mut Received, payload: &'a [u8]) -> Outcome<'a> {
        let (number, message) = match Payload::parse(payload) {
            Payload::Message(number, message) => (Some(number), Some(message)),
            Payload::UnknownKind(number) => (Some(number), None),
            Payload::Foreign => (None, None),
        };
        let restarts = message == Some(Message::Sequence);
        if let Some(number) = number
            && !received.is_next(number, restarts)
        {
            // The copy of the ledger first: a call that begins after the fences were raised must
            // not find the old one.
            self.mirror.reset();
            self.epochs.begin(None);
            self.peers.invalidated_all();
            return Outcome::Gap;
        }
        Outcome::Applied(match message {
            Some(message) => self.apply(message),
            None => {
                // It is unknown what the message invalidates, so it invalidates everything. It may
                // be about tags, so the ledger is loaded again.
                self.mirror.reset();
                self.mirror.want();
                self.epochs.begin(self.epochs.history());
                self.peers.invalidated_all();
                Wake::All
            }
        })
    }

    fn apply<'a>(&self, message: Message<'a>) -> Wake<'a> {
        match message {
            Message::Keys(digests) => {
                digests
                    .each()
                    .for_each(|digest| self.peers.invalidated_key(digest));
                Wake::Keys(digests)
            }
            Message::Free(digest) => Wake::Key(digest),
            Message::Failed(digest) => Wake::Failed(digest),
            Message::Function(digest) => {
                self.epochs.forget(digest);
                self.peers.invalidated_function(digest);
                // A waiter for a key of the function may wait for a load that cannot be stored any
                // more.
                Wake::All
            }
            Message::History(history) => {
                self.epochs.begin(Some(history));
                self.peers.invalidated_all();
                Wake::All
            }
            Message::Sequence => Wake::Nobody,
            // The copy of the ledger first: the old copy must not find a record valid for a call
            // that begins after the fence was raised.
            Message::Tags(entry) => {
                self.note(entry, Kind::Invalidated);
                let digests = entry.digests.each();
                digests.for_each(|digest| self.peers.invalidated_tag(digest));
                Wake::Nobody
            }
            Message::Expired(entry) => {
                self.note(entry, Kind::Expired);
                let digests = entry.digests.each();
                digests.for_each(|digest| self.peers.expired(digest));
                // The lease of an expired key is void.
                Wake::Keys(entry.digests)
            }
            Message::Rotated(base, number) => self.ledger(base, Change::Rotated(number)),
            // Nothing was invalidated: memory has received every message of the ledger before.
            Message::LedgerBegun(base) => self.ledger(base, Change::Begun),
            Message::AllTags(base) => {
                let wake = self.ledger(base, Change::Begun);
                self.peers.invalidated_all_tags();
                wake
            }
        }
    }

    /// Notes an entry of the ledger in the copy of it.
    fn note(&self, entry: Entry<'_>, kind: Kind) {
        let base = entry.base;
        let change = Change::Entry(kind, entry.number);
        self.mirror
            .apply(Event { base, change }, entry.digests.each());
    }

    /// Notes another change of the ledger in the copy of it.
    fn ledger<'a>(&self, base: u64, change: Change) -> Wake<'a> {
        self.mirror.apply(Event { base, change }, iter::empty());
        Wake::Nobody
    }

    fn lock(&self) -> MutexGuard<'_, Received> {
        self.received.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Received {
    /// Remembers the server of the link that ends, with its last message.
    fn end_link(&mut self) {
        if let (Some(server), Some(last)) = (self.server.take(), self.last) {
            self.previous = Some((server, last));
        }
        (self.first, self.last, self.attached) = (None, None, None);
        (self.restarts, self.restarts_with_history) = (0, 0);
    }

    /// Notes the number of a message. Returns `false` if messages before it are missing. The first
    /// message of a sequence that `restarts` has a larger number than every earlier one.
    fn is_next(&mut self, number: u64, restarts: bool) -> bool {
        self.restarts += u64::from(restarts);
        // The attachment has counted this message: its script publishes two messages at most.
        let counted = |attached: u64| (attached.saturating_sub(1)..=attached).contains(&number);
        if self.last == self.attached && self.attached.is_some_and(counted) {
            return true;
        }
        let is_next = self.last.is_none_or(|last| match restarts {
            true => last < number,
            false => last.checked_add(1) == Some(number),
        });
        self.first.get_or_insert(number);
        // A number that does not follow may be foreign, so it is not remembered.
        if is_next {
            self.last = Some(number);
        }
        is_next
    }
}

/// Reads the channel's connection of one link.
pub(crate) struct Reader {
    bus: Arc<Bus>,
    /// The number of the link.
    link: u64,
    /// Called when the link cannot be trusted any more.
    lost: Box<dyn Fn() + Send + Sync>,
}

impl Reader {
    pub(crate) fn new(
        bus: &Arc<Bus>,
        link: u64,
        lost: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            bus: Arc::clone(bus),
            link,
            lost: Box::new(lost),
        })
    }

    /// Handles a push of the server, in the task that reads the connection.
    pub(crate) fn push(&self, push: &PushInfo) {
        match push.kind {
            PushKind::SMessage => {
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && *channel == self.bus.channel.as_bytes()
                    && !self.bus.receive(self.link, payload)
                {
                    (self.lost)();
                }
            }
            // The slot was moved to another node, or the connection has ended.
            PushKind::SUnsubscribe | PushKind::Disconnection => (self.lost)(),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
