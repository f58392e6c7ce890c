//! The ledger as an instance knows it, and the validity of a record.

use super::config::LedgerGuards;
use super::message::Message;
use super::server::{Generation, Head, Mark, Numbers, Server};

/// Validity of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Valid,
    Expired,
    Invalidated,
}

/// Both generations of a ledger as one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct View {
    /// The base; zero if there is no ledger.
    pub(super) base: u8,
    /// The number at which the oldest generation began.
    pub(super) floor: u8,
    /// The number at which the current generation began.
    pub(super) begun_at: u8,
    pub(super) numbers: Numbers,
    /// Numbers of the older generation, in the search whose rotations do not keep what is newer.
    pub(super) older: Numbers,
}

/// A load of the mirror.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Loading {
    pub(super) head: Head,
    /// Numbers of the current and of the older generation, when they have been read.
    pub(super) found: Option<(Numbers, Numbers)>,
    /// Messages and replies that arrived since the load began.
    pub(super) kept: Vec<Message>,
}

/// The mirror of the ledger in an instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Mirror {
    Unknown,
    Loading(Loading),
    Known(View),
}

impl View {
    /// Returns what a reader knows of a ledger whose generations it has read.
    fn new(head: Head, found: (Numbers, Numbers), guards: &LedgerGuards) -> Self {
        let Some((base, begun_at)) = head.current else {
            return Self::default();
        };
        let is_older = |old: &(u8, u8)| old.0 == base || !guards.base_of_old;
        let (floor, old) = match head.old.filter(is_older) {
            Some((_, floor)) => (floor, found.1),
            None if guards.floor_without_old => (begun_at, Numbers::default()),
            None => (0, Numbers::default()),
        };
        Self {
            base,
            floor,
            begun_at,
            numbers: found.0.max(old),
            older: Numbers::default(),
        }
    }

    /// Returns what a reader knows of a ledger that it has asked for the generations.
    pub(super) fn of(
        current: Option<Generation>,
        old: Option<Generation>,
        guards: &LedgerGuards,
    ) -> Self {
        let head = |generation: Generation| (generation.base, generation.begun_at);
        let numbers = |generation: Option<Generation>| generation.unwrap_or(NONE).numbers;
        let (current_head, old_head) = (current.map(head), old.map(head));
        let head = Head {
            current: current_head,
            old: old_head,
        };
        Self::new(head, (numbers(current), numbers(old)), guards)
    }

    /// Judges a record that has this mark.
    pub(super) fn judge(&self, mark: Mark, guards: &LedgerGuards) -> Verdict {
        let is_other = guards.base && mark.base != self.base;
        if self.base == 0 || is_other || (guards.floor && mark.number < self.floor) {
            return Verdict::Invalidated;
        }
        let numbers = self.numbers.max(self.older);
        match (numbers.tag > mark.number, numbers.expiry > mark.number) {
            (true, _) => Verdict::Invalidated,
            (false, true) => Verdict::Expired,
            (false, false) => Verdict::Valid,
        }
    }

    /// Applies a message. Returns `false` if the mirror ends.
    fn apply(&mut self, message: Message, guards: &LedgerGuards) -> bool {
        let Some(base) = message.base() else {
            return true;
        };
        if base != 0 && base != self.base {
            if !guards.message_ends {
                return true;
            }
            if guards.loaded_again {
                return false;
            }
            *self = Self {
                base,
                ..Self::default()
            };
        }
        match message {
            Message::Tag { number, .. } => note(&mut self.numbers.tag, number, guards),
            Message::Expiry { number, .. } => note(&mut self.numbers.expiry, number, guards),
            Message::Rotated { begun_at, .. }
                if begun_at > self.begun_at || !guards.known_rotation =>
            {
                self.floor = self.begun_at;
                self.begun_at = begun_at;
                self.forget_old(guards);
            }
            Message::Rotated { .. }
            | Message::Other { .. }
            | Message::Begun { .. }
            | Message::All { .. }
            | Message::Pong { .. } => {}
        }
        true
    }

    /// Forgets what has no effect on records that are above the floor.
    fn forget_old(&mut self, guards: &LedgerGuards) {
        if !guards.rotation_keeps {
            self.older = std::mem::take(&mut self.numbers);
            return;
        }
        for number in [&mut self.numbers.tag, &mut self.numbers.expiry] {
            if *number <= self.floor {
                *number = 0;
            }
        }
    }
}

/// Notes a number that a message or a reply has announced.
fn note(known: &mut u8, number: u8, guards: &LedgerGuards) {
    if number > *known || !guards.never_less {
        *known = number;
    }
}

/// A generation that is missing.
const NONE: Generation = Generation::begun(0);

impl Mirror {
    /// Applies a message, or keeps it until the load has ended.
    pub(super) fn learn(&mut self, message: Message, guards: &LedgerGuards) {
        match self {
            Self::Unknown => {
                if let (Message::Begun { base }, false) = (message, guards.loaded_again) {
                    *self = Self::Known(View {
                        base,
                        ..View::default()
                    });
                }
            }
            Self::Loading(loading) => {
                if guards.kept && message.base().is_some() {
                    loading.kept.push(message);
                }
            }
            Self::Known(view) => {
                if !view.apply(message, guards) {
                    *self = Self::Unknown;
                }
            }
        }
    }

    /// Applies the reply to an invalidation of this instance.
    pub(super) fn replied(&mut self, message: Message, guards: &LedgerGuards) {
        let is_ignored = match self {
            Self::Unknown => false,
            Self::Loading(_) => !guards.replies_kept,
            Self::Known(view) => !guards.reply_ends && message.base() != Some(view.base),
        };
        if !is_ignored {
            self.learn(message, guards);
        }
    }

    /// Takes the next step of a load: the head, the generations, the head again.
    pub(super) fn load(&mut self, server: &Server, guards: &LedgerGuards) {
        let numbers = |generation: Option<Generation>| generation.unwrap_or(NONE).numbers;
        let head = server.head();
        match self {
            Self::Known(_) => {}
            Self::Unknown if !guards.complete => {
                let nothing = (Numbers::default(), Numbers::default());
                *self = Self::Known(View::new(head, nothing, guards));
            }
            Self::Unknown => {
                *self = Self::Loading(Loading {
                    head,
                    found: None,
                    kept: Vec::new(),
                });
            }
            Self::Loading(loading) => match loading.found {
                None => loading.found = Some((numbers(server.ledger), numbers(server.old))),
                Some(_) if guards.compared && head != loading.head => *self = Self::Unknown,
                Some(found) => {
                    let view = View::new(loading.head, found, guards);
                    let kept = std::mem::take(&mut loading.kept);
                    *self = Self::Known(view);
                    for message in kept {
                        self.learn(message, guards);
                    }
                }
            },
        }
    }
}
