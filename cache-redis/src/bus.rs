//! The channel on which instances tell each other of invalidations.
//!
//! Messages are applied where they are read, in the reader of the connection and in its order: a reply that follows a
//! message on that connection is seen after the message took effect. Messages are numbered without gaps, so a missing
//! one is noticed.
//!
//! The bus hears one link. When a link is lost its connections are closed, but the reader of one may be in the middle of
//! a message; what it reads changes nothing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::Coherence;
use cache_core::tier::{FunctionKey, Peers};
use redis::{PushInfo, PushKind, Value};

use crate::epochs::{Epochs, KnownEpochs};
use crate::message::{Message, Payload};
use crate::server::Identity;
use crate::waiters::Waiters;

/// What messages are applied to.
#[derive(Debug)]
pub(crate) struct Bus {
    pub(crate) channel: String,
    pub(crate) peers: Peers,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) epochs: Epochs,
    pub(crate) waiters: Arc<Waiters>,
    pub(crate) gaps: AtomicU64,
    /// Locked while a message is judged and applied to epochs and fences, so that a link cannot be replaced in between.
    /// No waker runs under the lock.
    heard: Mutex<Heard>,
}

/// The numbers that were heard on one link.
#[derive(Debug, Default)]
struct Heard {
    /// The link that is heard; zero for none.
    generation: u64,
    first: Option<u64>,
    last: Option<u64>,
    /// The last message that the attachment of the link counted. Some servers send the reply before the
    /// messages of the same script.
    attached: Option<u64>,
    /// How often the sequence began anew.
    restarts: u64,
    /// `restarts` as of the last barrier that found the history.
    restarts_with_history: u64,
    /// The server that the link is attached to.
    server: Option<Arc<Identity>>,
    /// The server that a link was attached to before, and the last number that was heard there.
    before: Option<(Arc<Identity>, u64)>,
}

/// What an instance knows that has heard every message up to a number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Known {
    /// The number of the last message.
    pub(crate) last: u64,
    pub(crate) history: u64,
    pub(crate) epochs: KnownEpochs,
    /// How often the sequence began anew on this link.
    pub(crate) restarts: u64,
}

/// The waiters that a message wakes.
enum Wake {
    Nobody,
    Key(u64),
    Failed(u64),
    All,
}

/// What came of a payload.
enum Outcome {
    Applied(Wake),
    /// Messages before it are missing.
    Gap,
}

impl Bus {
    pub(crate) fn new(channel: String, peers: Peers, coherence: Coherence) -> Self {
        Self {
            channel,
            peers,
            coherence: Arc::new(coherence),
            epochs: Epochs::default(),
            waiters: Arc::default(),
            gaps: AtomicU64::new(0),
            heard: Mutex::default(),
        }
    }

    /// Hears the link of that number from now on, and no other. Called before the link subscribes.
    pub(crate) fn open(&self, generation: u64) {
        let mut heard = self.lock();
        heard.remember();
        heard.generation = generation;
    }

    /// Stops hearing the link of that number.
    pub(crate) fn close(&self, generation: u64) {
        let mut heard = self.lock();
        if heard.generation == generation {
            heard.remember();
            heard.generation = 0;
        }
    }

    /// The number of the last message that was ever heard from this server; zero for another one than the last.
    pub(crate) fn last_heard_from(&self, server: &Identity) -> u64 {
        let heard = self.lock();
        let before = heard.before.as_ref();
        before.map_or(
            0,
            |(known, last)| if **known == *server { *last } else { 0 },
        )
    }

    /// Notes the reply to the attachment of a link: `last` was the number of the last message on this server. The reply
    /// came over the channel's connection, after it was subscribed. `false` if messages are missing already, or if the
    /// link is not heard any more.
    pub(crate) fn attached(&self, generation: u64, server: &Arc<Identity>, last: u64) -> bool {
        let mut heard = self.lock();
        if heard.generation != generation {
            return false;
        }
        let is_whole = heard
            .first
            .is_none_or(|first| first <= last.saturating_add(1));
        heard.last = heard.last.max(Some(last));
        heard.attached = Some(last);
        heard.first.get_or_insert(last);
        heard.server = Some(Arc::clone(server));
        is_whole
    }

    /// What is known over the link of that number; `None` if that is not heard, or has no history.
    pub(crate) fn known(&self, generation: u64) -> Option<Known> {
        let heard = self.lock();
        if heard.generation != generation {
            return None;
        }
        let (history, epochs) = self.epochs.all()?;
        Some(Known {
            last: heard.last?,
            history,
            epochs,
            restarts: heard.restarts,
        })
    }

    /// Notes that a barrier found the history, which was sent when the sequence had begun anew so often.
    pub(crate) fn found_history(&self, generation: u64, restarts: u64) {
        let mut heard = self.lock();
        if heard.generation == generation {
            heard.restarts_with_history = heard.restarts_with_history.max(restarts);
        }
    }

    /// Whether the sequence began anew since a barrier last found the history.
    pub(crate) fn has_restarted(&self) -> bool {
        let heard = self.lock();
        heard.restarts > heard.restarts_with_history
    }

    /// The number of the last message that was heard, zero if there is none, and the epoch of the function as of then.
    pub(crate) fn last_heard_and_epoch(&self, function: &FunctionKey) -> (u64, Option<u64>) {
        let heard = self.lock();
        let epoch = self.epochs.stamp(function).map(|stamp| stamp.epoch);
        (heard.last.unwrap_or(0), epoch)
    }

    /// Fences everything off: it is not known what was invalidated.
    pub(crate) fn fence_all(&self, history: Option<u64>) {
        self.epochs.begin(history);
        self.peers.invalidated_all();
        self.waiters.wake_all();
    }

    /// Applies a payload that the link of that number read. `false` if the link cannot be trusted any more.
    fn hear(&self, generation: u64, payload: &[u8]) -> bool {
        let outcome = {
            let mut heard = self.lock();
            if heard.generation != generation {
                return true;
            }
            self.judge(&mut heard, payload)
        };
        match outcome {
            Outcome::Applied(Wake::Nobody) => {}
            Outcome::Applied(Wake::Key(digest)) => self.waiters.wake(digest),
            Outcome::Applied(Wake::Failed(digest)) => self.waiters.load_failed(digest),
            Outcome::Applied(Wake::All) => self.waiters.wake_all(),
            Outcome::Gap => {
                self.gaps.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(
                    "messages of other instances are missing: entries of shared functions in memory are not used"
                );
                self.waiters.wake_all();
                return false;
            }
        }
        true
    }

    fn judge(&self, heard: &mut Heard, payload: &[u8]) -> Outcome {
        let (number, message) = match Payload::parse(payload) {
            Payload::Message(number, message) => (Some(number), Some(message)),
            Payload::UnknownKind(number) => (Some(number), None),
            Payload::Foreign => (None, None),
        };
        let begins = message == Some(Message::Sequence);
        if let Some(number) = number
            && !heard.is_next(number, begins)
        {
            self.epochs.begin(None);
            self.peers.invalidated_all();
            return Outcome::Gap;
        }
        Outcome::Applied(match message {
            Some(message) => self.apply(message),
            None => {
                // Nobody knows what it invalidates, so it invalidates everything.
                self.epochs.begin(self.epochs.history());
                self.peers.invalidated_all();
                Wake::All
            }
        })
    }

    fn apply(&self, message: Message) -> Wake {
        match message {
            Message::Key(digest) => {
                self.peers.invalidated_key(digest);
                Wake::Key(digest)
            }
            Message::Free(digest) => Wake::Key(digest),
            Message::Failed(digest) => Wake::Failed(digest),
            Message::Function(digest) => {
                self.epochs.forget(digest);
                self.peers.invalidated_function(digest);
                // A waiter for one of its keys may wait for a load that cannot be stored any more.
                Wake::All
            }
            Message::History(history) => {
                self.epochs.begin(Some(history));
                self.peers.invalidated_all();
                Wake::All
            }
            Message::Sequence => Wake::Nobody,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Heard {
    /// Keeps what was heard on the link that ends.
    fn remember(&mut self) {
        if let (Some(server), Some(last)) = (self.server.take(), self.last) {
            self.before = Some((server, last));
        }
        (self.first, self.last, self.attached) = (None, None, None);
        (self.restarts, self.restarts_with_history) = (0, 0);
    }

    /// Notes the number of a message; `false` if messages before it are missing. A sequence that
    /// `begins` anew does so above every earlier number.
    fn is_next(&mut self, number: u64, begins: bool) -> bool {
        self.restarts += u64::from(begins);
        // The attachment counted it already: the script publishes two messages at most.
        let counted = |attached: u64| (attached.saturating_sub(1)..=attached).contains(&number);
        if self.last == self.attached && self.attached.is_some_and(counted) {
            return true;
        }
        let is_next = self.last.is_none_or(|last| match begins {
            true => last < number,
            false => last.checked_add(1) == Some(number),
        });
        self.first.get_or_insert(number);
        // A number that does not follow may be foreign, and is not remembered of the server.
        if is_next {
            self.last = Some(number);
        }
        is_next
    }
}

/// Reads the channel's connection of one link.
pub(crate) struct Reader {
    bus: Arc<Bus>,
    generation: u64,
    /// Called when the link cannot be trusted any more.
    lost: Box<dyn Fn() + Send + Sync>,
}

impl Reader {
    pub(crate) fn new(
        bus: &Arc<Bus>,
        generation: u64,
        lost: impl Fn() + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            bus: Arc::clone(bus),
            generation,
            lost: Box::new(lost),
        })
    }

    pub(crate) fn push(&self, push: &PushInfo) {
        match push.kind {
            PushKind::SMessage => {
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && *channel == self.bus.channel.as_bytes()
                    && !self.bus.hear(self.generation, payload)
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
