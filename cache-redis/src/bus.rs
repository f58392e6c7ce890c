//! The channel on which instances tell each other of invalidations.
//!
//! Messages are applied where they are read, in the connection's own reader and in its order: what is answered after a message
//! on that connection is seen after the message took effect. They are numbered without gaps, so that one that is missing is
//! noticed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use cache_core::Coherence;
use cache_core::tier::Peers;
use redis::{PushInfo, PushKind, Value};

use crate::epochs::Epochs;
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
}

/// A message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Message {
    /// A key was invalidated.
    Key(u64),
    /// A key was filled, or its lease released.
    Free(u64),
    /// The load of a key failed, and its lease was released.
    Failed(u64),
    /// A function was invalidated.
    Function(u64),
    /// There is a new history.
    History(u64),
}

impl Message {
    /// `<number>:<kind>:<of what>`.
    fn parse(payload: &[u8]) -> Option<(u64, Self)> {
        let text = std::str::from_utf8(payload).ok()?;
        let mut parts = text.splitn(3, ':');
        let number = parts.next()?.parse().ok()?;
        let kind = parts.next()?;
        let what = parts.next()?.parse().ok()?;
        let message = match kind {
            "k" => Self::Key(what),
            "f" | "r" => Self::Free(what),
            "x" => Self::Failed(what),
            "e" => Self::Function(what),
            "h" => Self::History(what),
            _ => return None,
        };
        Some((number, message))
    }
}

impl Bus {
    fn apply(&self, message: Message) {
        match message {
            Message::Key(digest) => {
                self.peers.invalidated_key(digest);
                self.waiters.wake(digest);
            }
            Message::Free(digest) => self.waiters.wake(digest),
            Message::Failed(digest) => self.waiters.load_failed(digest),
            Message::Function(digest) => {
                self.epochs.forget(digest);
                self.peers.invalidated_function(digest);
                // Who waits for a key of it may wait for a load that fills nothing any more.
                self.waiters.wake_all();
            }
            Message::History(history) => {
                self.epochs.begin(Some(history));
                self.peers.invalidated_all();
                self.waiters.wake_all();
            }
        }
    }

    /// It is not known what was invalidated.
    pub(crate) fn fence_all(&self, history: Option<u64>) {
        self.epochs.begin(history);
        self.peers.invalidated_all();
        self.waiters.wake_all();
    }
}

/// What one connection has read. A gap is as good as its end: what is missing is not known.
pub(crate) struct Reader {
    bus: Arc<Bus>,
    last: Mutex<Last>,
    /// Called when the connection has nothing more to tell.
    lost: Box<dyn Fn() + Send + Sync>,
}

/// The numbers that were read.
#[derive(Debug, Default)]
struct Last {
    first: Option<u64>,
    last: Option<u64>,
}

impl Reader {
    pub(crate) fn new(bus: Arc<Bus>, lost: impl Fn() + Send + Sync + 'static) -> Arc<Self> {
        Arc::new(Self {
            bus,
            last: Mutex::default(),
            lost: Box::new(lost),
        })
    }

    /// The server says that `last` was the last message when this was asked, on this connection, which was subscribed before;
    /// `false` when messages are missing already.
    pub(crate) fn attached(&self, last: u64) -> bool {
        let mut known = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = known.first.is_none_or(|first| first <= last + 1);
        known.last = known.last.max(Some(last));
        known.first.get_or_insert(last);
        whole
    }

    pub(crate) fn push(&self, push: &PushInfo) {
        match push.kind {
            PushKind::SMessage => {
                if let [Value::BulkString(channel), Value::BulkString(payload)] = &push.data[..]
                    && *channel == self.bus.channel.as_bytes()
                {
                    self.message(payload);
                }
            }
            // The slot has moved, or the server goes.
            PushKind::SUnsubscribe | PushKind::Disconnection => (self.lost)(),
            _ => {}
        }
    }

    fn message(&self, payload: &[u8]) {
        let Some((number, message)) = Message::parse(payload) else {
            // Somebody else's, on our channel; or a newer version's, whose meaning is not known.
            self.bus.fence_all(self.bus.epochs.history());
            return;
        };
        let missing = {
            let mut known = self.last.lock().unwrap_or_else(PoisonError::into_inner);
            let missing = known.last.is_some_and(|last| number != last + 1);
            known.first.get_or_insert(number);
            known.last = Some(number);
            missing
        };
        self.bus.apply(message);
        if missing {
            self.bus.gaps.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                "messages of other instances are missing: nothing that was kept before counts any more"
            );
            self.bus.fence_all(None);
            (self.lost)();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::time::Duration;

    use cache_core::tier::{FunctionKey, Stamp};

    use super::*;

    fn bus() -> Arc<Bus> {
        Arc::new(Bus {
            channel: "c".into(),
            peers: Peers::none(),
            coherence: Arc::new(Coherence::new(Duration::from_millis(500))),
            epochs: Epochs::default(),
            waiters: Arc::default(),
            gaps: AtomicU64::new(0),
        })
    }

    fn push(reader: &Reader, payload: &str) {
        reader.push(&PushInfo {
            kind: PushKind::SMessage,
            data: vec![
                Value::BulkString(b"c".to_vec()),
                Value::BulkString(payload.as_bytes().to_vec()),
            ],
        });
    }

    #[test]
    fn a_gap_in_the_numbers_is_noticed() {
        let bus = bus();
        let reader = Reader::new(Arc::clone(&bus), || {});
        push(&reader, "5:k:1");
        assert!(reader.attached(5));
        push(&reader, "6:f:1");
        push(&reader, "7:k:2");
        assert_eq!(bus.gaps.load(Ordering::Relaxed), 0);
        push(&reader, "9:k:2");
        assert_eq!(bus.gaps.load(Ordering::Relaxed), 1);
        push(&reader, "10:k:2");
        push(&reader, "1:k:2");
        assert_eq!(bus.gaps.load(Ordering::Relaxed), 2, "the counter was lost");
        push(&reader, "hello");
        assert_eq!(bus.gaps.load(Ordering::Relaxed), 2, "it is none of ours");

        let reader = Reader::new(Arc::clone(&bus), || {});
        push(&reader, "5:k:1");
        assert!(!reader.attached(3), "4 is missing");
        let reader = Reader::new(bus, || {});
        assert!(reader.attached(3));
    }

    #[test]
    fn what_is_known_of_a_function_is_forgotten_with_the_message() {
        let bus = bus();
        let reader = Reader::new(Arc::clone(&bus), || {});
        let function = FunctionKey::new("users::get", 1);
        push(&reader, "1:h:7");
        bus.epochs.learn(&function, 11, bus.epochs.mark());
        push(&reader, "2:k:5");
        assert_eq!(
            bus.epochs.stamp(&function),
            Some(Stamp {
                epoch: 11,
                history: 7
            })
        );
        push(&reader, &format!("3:e:{}", function.digest));
        assert_eq!(bus.epochs.stamp(&function), None);
        assert_eq!(bus.epochs.history(), Some(7));
    }

    #[test]
    fn a_channel_that_ends_is_lost() {
        for kind in [PushKind::Disconnection, PushKind::SUnsubscribe] {
            let lost = Arc::new(AtomicBool::new(false));
            let told = Arc::clone(&lost);
            let reader = Reader::new(bus(), move || told.store(true, Ordering::SeqCst));
            reader.push(&PushInfo {
                kind,
                data: Vec::new(),
            });
            assert!(lost.load(Ordering::SeqCst));
        }
    }
}
