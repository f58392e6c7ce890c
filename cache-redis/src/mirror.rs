//! The copy of a shard's ledger that the messages of a link keep up to date. With it a hit on a
//! marked record reads nothing but the record.
//!
//! The copy is loaded once for each link, after it is subscribed. It answers only while the channel
//! is coherent, which its user checks first.
//!
//! # Invariants
//! 1. Messages and replies that arrive while the ledger is loaded are kept and applied after that,
//!    in order. So the load may be older or newer than the messages.
//! 2. Numbers of one base are not compared with numbers of another. A message or a reply with
//!    another base than that of the copy drops the copy, which is then loaded again. The base of a
//!    ledger that begins is not adopted with an empty copy either: an entry of this instance may
//!    have been noted before the message of the beginning arrives.
//! 3. The entries of this instance are noted when the server has acknowledged them, before the
//!    messages of them arrive.
//! 4. A load of an earlier link, or one that another has overtaken, changes nothing.
//! 5. No waker runs under the lock.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::tier::kit::lock;
use cache_core::tier::{Marks, MarksState};
use tokio::sync::Notify;

use crate::ledger::{self, Kind, Ledger};

/// The largest number of digests that are kept while the ledger is loaded, and of entries in the
/// copy: twice what the server has in two generations.
const MOST_DIGESTS: usize = 1 << 17;

/// A change of the ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Event {
    pub(crate) base: u64,
    pub(crate) change: Change,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// An entry with this number, of digests that belong to it.
    Entry(Kind, u64),
    /// The next generation was begun after the entry with this number.
    Rotated(u64),
    /// The ledger was begun.
    Begun,
}

/// The copy, and how to ask for its load.
#[derive(Debug, Default)]
pub(crate) struct Mirror {
    state: Mutex<State>,
    /// `true` once a function needs the ledger. Relaxed: a load that is begun a moment later does
    /// no harm.
    is_enabled: AtomicBool,
    /// A load is wanted, and was not announced yet. Relaxed: it guards no data.
    is_wanted: AtomicBool,
    wanted: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the last load, or of the last time that one was thrown away.
    load: u64,
    copy: Contents,
}

/// The copy, as far as it is known.
#[derive(Debug, Default)]
enum Contents {
    #[default]
    Unknown,
    Loading(Kept),
    /// The ledger; `None` if there is none.
    Known(Option<Ledger>),
}

/// The events that have arrived since a load began.
#[derive(Debug, Default)]
struct Kept {
    events: Vec<(Event, Vec<u64>)>,
    /// The number of digests in them, and of events.
    len: usize,
}

/// A load in progress. If it is dropped, the copy is unknown.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    mirror: &'a Mirror,
    number: u64,
}

impl Mirror {
    /// Follows the ledger from now on.
    pub(crate) fn enable(&self) {
        if !self.is_enabled.swap(true, Ordering::Relaxed) {
            self.want();
        }
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Relaxed)
    }

    /// Has the ledger loaded, if it is followed and is not known.
    pub(crate) fn want(&self) {
        self.wanted.notify_one();
    }

    /// Waits until the ledger is to be loaded. One task may wait.
    pub(crate) async fn wanted(&self) {
        self.wanted.notified().await;
    }

    /// Forgets the copy, because its link has ended or another is made.
    pub(crate) fn reset(&self) {
        lock(&self.state).forget();
    }

    /// Begins a load before the first request of it is sent. `None` if none is needed.
    pub(crate) fn begin_load(&self) -> Option<Load<'_>> {
        let mut state = lock(&self.state);
        if !self.is_enabled() || !matches!(state.copy, Contents::Unknown) {
            return None;
        }
        state.load += 1;
        state.copy = Contents::Loading(Kept::default());
        Some(Load {
            mirror: self,
            number: state.load,
        })
    }

    /// Applies a change that the channel has announced, or that this instance has made, with the
    /// digests of an entry. Call [`announce`](Self::announce) after it, without a lock.
    pub(crate) fn apply(&self, event: Event, digests: impl Iterator<Item = u64>) {
        if self.is_enabled() && !lock(&self.state).apply(event, digests) {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
    }

    /// Notes the part of the ledger that a reply has shown. The messages of its entries may not
    /// have arrived: a record that it has voided must not be valid for a later call.
    pub(crate) fn learn(&self, part: &Ledger) {
        self.saw(part.base);
        if let Contents::Known(Some(known)) = &mut lock(&self.state).copy
            && known.base == part.base
        {
            known.note_all(part);
        }
    }

    /// Notes the base that a reply has shown.
    pub(crate) fn saw(&self, base: u64) {
        if !self.is_enabled() {
            return;
        }
        let mut state = lock(&self.state);
        if matches!(&state.copy, Contents::Known(known) if known.as_ref().map(|of| of.base) != Some(base))
        {
            state.forget();
            drop(state);
            self.want();
        }
    }

    /// Has the load begun that a change has made necessary.
    pub(crate) fn announce(&self) {
        // The first check keeps the common case to a plain read.
        if self.is_wanted.load(Ordering::Relaxed) && self.is_wanted.swap(false, Ordering::Relaxed) {
            self.want();
        }
    }

    /// Judges a record by the copy; `None` if the ledger is not known.
    pub(crate) fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        match &lock(&self.state).copy {
            Contents::Known(Some(ledger)) => Some(ledger.judge(marks)),
            Contents::Known(None) => Some(ledger::unknown(marks)),
            Contents::Unknown | Contents::Loading(_) => None,
        }
    }
}

impl State {
    fn forget(&mut self) {
        self.load += 1;
        self.copy = Contents::Unknown;
    }

    /// Returns `false` if the ledger must be loaded.
    fn apply(&mut self, event: Event, digests: impl Iterator<Item = u64>) -> bool {
        let applied = match &mut self.copy {
            Contents::Unknown => return false,
            Contents::Loading(kept) => kept.keep(event, digests),
            Contents::Known(Some(ledger)) if ledger.base == event.base => {
                match event.change {
                    Change::Entry(kind, number) => {
                        digests.for_each(|digest| ledger.note(kind, digest, number));
                    }
                    Change::Rotated(number) => ledger.rotate(number),
                    Change::Begun => {}
                }
                ledger.len() <= MOST_DIGESTS
            }
            Contents::Known(_) => false,
        };
        if !applied {
            self.forget();
        }
        applied
    }
}

impl Kept {
    /// Returns `false` if it is too much.
    fn keep(&mut self, event: Event, digests: impl Iterator<Item = u64>) -> bool {
        let digests: Vec<u64> = digests.collect();
        self.len += 1 + digests.len();
        self.events.push((event, digests));
        self.len <= MOST_DIGESTS
    }
}

impl Load<'_> {
    /// Takes over what was loaded: the ledger, or that there is none. Returns `false` if it was
    /// begun again in the meantime, or the load is of an earlier link.
    pub(crate) fn finish(self, ledger: Option<Ledger>) -> bool {
        let mut state = lock(&self.mirror.state);
        if state.load != self.number {
            return false;
        }
        let Contents::Loading(kept) = std::mem::take(&mut state.copy) else {
            return false;
        };
        state.copy = Contents::Known(ledger);
        let mut events = kept.events.into_iter();
        events.all(|(event, digests)| state.apply(event, digests.into_iter()))
    }
}

impl Drop for Load<'_> {
    fn drop(&mut self) {
        let mut state = lock(&self.mirror.state);
        if state.load == self.number && matches!(state.copy, Contents::Loading(_)) {
            state.copy = Contents::Unknown;
        }
    }
}

#[cfg(test)]
mod tests;
