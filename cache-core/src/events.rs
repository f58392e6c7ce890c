//! The last events of a runtime: failures of records and tiers, and invalidations.
//!
//! They are kept in memory, in a ring of fixed size. None of them is noted by a call that memory
//! answers.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::unix_millis;
use crate::level::Level;
use crate::reason::Mismatch;
use crate::stats::Refusal;

/// The number of events that are kept.
const CAPACITY: usize = 512;

/// An event in a runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Event {
    /// The number of the event in its runtime. Numbers begin with 1 and have no gaps.
    pub number: u64,
    /// When it happened, in milliseconds since the Unix epoch by the clock of this host.
    pub unix_millis: u64,
    /// The level of the tier that it concerns. `None` if it is not of one tier.
    #[serde(default)]
    pub tier: Option<Level>,
    /// The name of the function that it concerns. `None` if it is of none, or of one that has not
    /// been called on this instance.
    #[serde(default)]
    pub function: Option<String>,
    /// The digest of the key that it concerns: messages of other instances do not name keys.
    #[serde(default)]
    pub key: Option<u64>,
    /// The kind of the event.
    pub kind: EventKind,
}

/// The kind of an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventKind {
    /// A value was not stored in a tier.
    FillRefused {
        /// The reason.
        reason: Refusal,
    },
    /// A record was damaged, or could not be decoded.
    RecordDamaged,
    /// An undamaged record was of something else.
    RecordMismatch {
        /// The part that differs.
        of: Mismatch,
    },
    /// Values were invalidated.
    Invalidated {
        /// Which values.
        scope: EventScope,
        /// Which instance did so.
        by: EventOrigin,
    },
    /// Values were made stale.
    Expired {
        /// Which values. [`All`](EventScope::All) if a message does not say it.
        scope: EventScope,
        /// Which instance did so.
        by: EventOrigin,
    },
    /// The channel of a shared tier was lost, or could not be trusted.
    Isolated,
    /// Messages were missing on the channel of a shared tier.
    Gap,
    /// The store of a shared tier was found to be another one, or to have lost data.
    HistoryChanged,
    /// A tier did not answer several times in a row, and is not asked until it does.
    BreakerOpened,
}

/// The values that an invalidation or an expiry concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventScope {
    /// One key.
    Key,
    /// All keys of a function.
    Function,
    /// The keys of a function that match a pattern.
    Matching,
    /// The values with a tag.
    Tag,
    /// Everything, or what is not known.
    All,
}

/// Which instance has done something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EventOrigin {
    /// This one.
    Here,
    /// Another one. Some channels also bring an instance its own messages, so an event of this kind
    /// may repeat one of this instance.
    Peer,
}

/// The tier, the function and the key that an event concerns, by digests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Concerns {
    pub(crate) tier: Option<Level>,
    /// The digest of the function's name.
    pub(crate) function: Option<u64>,
    pub(crate) key: Option<u64>,
}

/// An event as it is noted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Noted {
    number: u64,
    unix_millis: u64,
    pub(crate) concerns: Concerns,
    kind: EventKind,
}

/// The last events of one runtime.
#[derive(Debug, Default)]
pub(crate) struct Events {
    /// Lock rule: never held across an await, nor while user code runs.
    ring: Mutex<Ring>,
}

#[derive(Debug, Default)]
struct Ring {
    noted: VecDeque<Noted>,
    last: u64,
}

impl Events {
    /// Notes an event that happens now. The oldest one is dropped if there are too many.
    pub(crate) fn note(&self, concerns: Concerns, kind: EventKind) {
        let unix_millis = unix_millis();
        let mut ring = self.lock();
        ring.last += 1;
        let number = ring.last;
        if ring.noted.len() == CAPACITY {
            ring.noted.pop_front();
        }
        ring.noted.push_back(Noted {
            number,
            unix_millis,
            concerns,
            kind,
        });
    }

    /// Returns the events with a number above `after`, in the order of their numbers.
    pub(crate) fn after(&self, after: u64) -> Vec<Noted> {
        let ring = self.lock();
        let noted = ring.noted.iter().filter(|noted| noted.number > after);
        noted.copied().collect()
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    /// Returns the event, with the name of its function.
    pub(crate) fn named(self, name: impl FnOnce(u64) -> Option<String>) -> Event {
        let Concerns {
            tier,
            function,
            key,
        } = self.concerns;
        Event {
            number: self.number,
            unix_millis: self.unix_millis,
            tier,
            function: function.and_then(name),
            key,
            kind: self.kind,
        }
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FillRefused { reason } => {
                let reason = format!("{reason:?}").to_lowercase();
                write!(f, "a value was not stored ({reason})")
            }
            Self::RecordDamaged => f.write_str("a record was damaged"),
            Self::RecordMismatch { of } => write!(f, "a record was of another {of}"),
            Self::Invalidated {
                scope: EventScope::All,
                by: EventOrigin::Peer,
            } => f.write_str("everything was invalidated, or it is not known what was"),
            Self::Invalidated { scope, by } => write_done(f, (scope, "invalidated"), by),
            // A message has a digest, and does not say of what.
            Self::Expired {
                scope: EventScope::All,
                by: by @ EventOrigin::Peer,
            } => write_done(
                f,
                (&"the key, its function, a tag or everything", "expired"),
                by,
            ),
            Self::Expired { scope, by } => write_done(f, (scope, "expired"), by),
            Self::Isolated => f.write_str("the channel was lost"),
            Self::Gap => f.write_str("messages were missing on the channel"),
            Self::HistoryChanged => f.write_str("the store was another one, or had lost data"),
            Self::BreakerOpened => {
                f.write_str("the tier did not answer, and was not asked further")
            }
        }
    }
}

/// Writes what was done. A message may be one that this instance has sent itself, so its text names
/// no instance.
fn write_done(
    f: &mut fmt::Formatter<'_>,
    (scope, done): (&dyn fmt::Display, &str),
    by: &EventOrigin,
) -> fmt::Result {
    match by {
        EventOrigin::Here => write!(f, "{scope} was {done} by this instance"),
        EventOrigin::Peer => write!(f, "a message says that {scope} was {done}"),
    }
}

impl fmt::Display for EventScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the key",
            Self::Function => "the function",
            Self::Matching => "a pattern",
            Self::Tag => "a tag",
            Self::All => "everything",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ring_keeps_the_last_events_and_numbers_have_no_gap() {
        let events = Events::default();
        assert!(events.after(0).is_empty());
        for _ in 0..CAPACITY + 10 {
            events.note(Concerns::default(), EventKind::Gap);
        }
        let numbers = |after| {
            let noted = events.after(after).into_iter();
            noted.map(|noted| noted.number).collect::<Vec<_>>()
        };
        let last = CAPACITY as u64 + 10;
        assert_eq!(numbers(0), (11..=last).collect::<Vec<_>>());
        assert_eq!(numbers(last - 1), [last]);
        assert!(numbers(last).is_empty());
    }

    #[test]
    fn text_of_a_message_claims_no_instance_and_no_more_than_the_message_says() {
        let (key, all) = (EventScope::Key, EventScope::All);
        let text = |kind: EventKind| kind.to_string();
        let invalidated = |scope, by| text(EventKind::Invalidated { scope, by });
        let expired = |scope, by| text(EventKind::Expired { scope, by });
        let (here, peer) = (EventOrigin::Here, EventOrigin::Peer);
        assert_eq!(
            [invalidated(key, here), invalidated(key, peer)],
            [
                "the key was invalidated by this instance",
                "a message says that the key was invalidated",
            ]
        );
        assert_eq!(
            [expired(key, here), expired(all, peer)],
            [
                "the key was expired by this instance",
                "a message says that the key, its function, a tag or everything was expired",
            ]
        );
    }
}
