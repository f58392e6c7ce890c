//! The ledger in the store, and the scripts that use it.

use super::config::LedgerGuards;
use super::message::Message;

/// A state of the ledger: the base, and the number of the last invalidation or expiry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Mark {
    pub(super) base: u8,
    pub(super) number: u8,
}

/// The numbers of the last invalidation of the record's tag and of the last expiry of its key. Zero
/// if there was none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Numbers {
    pub(super) tag: u8,
    pub(super) expiry: u8,
}

/// A generation of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Generation {
    pub(super) base: u8,
    pub(super) count: u8,
    /// The count when the generation began.
    pub(super) begun_at: u8,
    pub(super) numbers: Numbers,
    /// Number of other tags in the generation.
    pub(super) others: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Record {
    pub(super) version: u8,
    pub(super) history: u8,
    pub(super) mark: Mark,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) history: u8,
    pub(super) ledger: Option<Generation>,
    pub(super) old: Option<Generation>,
    pub(super) record: Option<Record>,
    /// The instance that holds the lease.
    pub(super) lease: Option<u8>,
}

/// Event that a script counts in the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Subject {
    /// The tag of the record is invalidated.
    Tag,
    /// Another tag is invalidated.
    Other,
    /// The key of the record is expired.
    KeyExpiry,
    /// Its tag or its function is expired.
    Expiry,
    /// All tags are invalidated.
    All,
}

/// Base and beginning of both generations.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Head {
    pub(super) current: Option<(u8, u8)>,
    pub(super) old: Option<(u8, u8)>,
}

impl Generation {
    const fn new(base: u8, count: u8) -> Self {
        Self {
            base,
            count,
            begun_at: count,
            numbers: Numbers { tag: 0, expiry: 0 },
            others: 0,
        }
    }

    pub(super) const fn begun(base: u8) -> Self {
        Self::new(base, 0)
    }

    fn fields(&self) -> u8 {
        u8::from(self.numbers.tag > 0) + u8::from(self.numbers.expiry > 0) + self.others
    }
}

impl Numbers {
    pub(super) fn max(self, other: Self) -> Self {
        Self {
            tag: self.tag.max(other.tag),
            expiry: self.expiry.max(other.expiry),
        }
    }
}

impl Server {
    /// Returns the ledger, which begins with this base if it is missing.
    fn begin(
        &mut self,
        base: u8,
        guards: &LedgerGuards,
        messages: &mut Vec<Message>,
    ) -> &mut Generation {
        if self.ledger.is_none() && guards.begun_published {
            messages.push(Message::Begun { base });
        }
        self.ledger.get_or_insert_with(|| Generation::begun(base))
    }

    /// The script of a lease. Returns the mark.
    pub(super) fn grant(
        &mut self,
        to: u8,
        fresh: u8,
        guards: &LedgerGuards,
        messages: &mut Vec<Message>,
    ) -> Mark {
        self.lease = Some(to);
        self.begin(fresh, guards, messages);
        self.mark()
    }

    pub(super) fn mark(&self) -> Mark {
        self.ledger.map_or_else(Mark::default, |ledger| Mark {
            base: ledger.base,
            number: ledger.count,
        })
    }

    /// The script of an invalidation or of an expiry. Returns the mark after it.
    pub(super) fn count(
        &mut self,
        subject: Subject,
        (fresh, capacity): (u8, u8),
        guards: &LedgerGuards,
        messages: &mut Vec<Message>,
    ) -> Mark {
        let named = |base| if guards.messages_carry_base { base } else { 0 };
        if subject == Subject::All && guards.overflow_begins {
            self.ledger = Some(Generation::begun(fresh));
            messages.push(Message::All { base: fresh });
            return self.mark();
        }
        if subject == Subject::KeyExpiry && guards.expiry_voids {
            self.lease = None;
        }
        let current = *self.begin(fresh, guards, messages);
        let base = named(current.base);
        if current.fields() >= capacity {
            self.old = self.ledger;
            self.ledger = Some(Generation::new(current.base, current.count));
            let begun_at = current.count;
            messages.push(Message::Rotated { base, begun_at });
        }
        let Some(ledger) = &mut self.ledger else {
            return Mark::default();
        };
        ledger.count += 1;
        let number = ledger.count;
        messages.push(match subject {
            Subject::Tag => {
                ledger.numbers.tag = number;
                Message::Tag { base, number }
            }
            Subject::Expiry | Subject::KeyExpiry => {
                ledger.numbers.expiry = number;
                Message::Expiry { base, number }
            }
            Subject::Other | Subject::All => {
                ledger.others += 1;
                Message::Other { base }
            }
        });
        self.mark()
    }

    pub(super) fn head(&self) -> Head {
        let head = |generation: &Generation| (generation.base, generation.begun_at);
        Head {
            current: self.ledger.as_ref().map(head),
            old: self.old.as_ref().map(head),
        }
    }
}
