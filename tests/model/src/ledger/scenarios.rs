//! Searches: the events that happen, and at which instances.

use super::config::{Events, Expiry, Ledger, LedgerGuards, Start};

/// Nothing happens.
pub(super) const NOTHING: Events = Events {
    tags: 0,
    others: 0,
    expiries: 0,
    queued: 0,
    overflows: 0,
    evictions: 0,
    old_evictions: 0,
    flushes: 0,
    breaks: 0,
    failovers: 0,
};

/// The tag is invalidated once.
pub(super) const TAG: Events = tags(1);

/// Returns invalidations of the tag.
pub(super) const fn tags(tags: u8) -> Events {
    Events { tags, ..NOTHING }
}

/// Returns a ledger of which instance 0 invalidates, and whose records instance 1 loads and judges
/// by its mirror. The truth changes once.
pub(super) const fn of(events: Events) -> Ledger {
    Ledger {
        commits: 1,
        writers: &[0],
        loaders: &[1],
        readers: &[1],
        strong: &[],
        capacity: 2,
        events,
        start: Start::Warm,
        expiry: Expiry::Key,
        memory: false,
        recovers: false,
        guards: LedgerGuards::ALL,
    }
}

/// Returns a ledger of which both instances invalidate. The truth changes twice.
pub(super) const fn two(events: Events) -> Ledger {
    Ledger {
        commits: 2,
        writers: &[0, 1],
        ..of(events)
    }
}

/// Returns a ledger of which each generation has one field.
pub(super) const fn rotating(events: Events) -> Ledger {
    Ledger {
        capacity: 1,
        ..of(events)
    }
}

impl Ledger {
    /// The instance that invalidates judges records by its mirror.
    pub(super) const fn own(self) -> Self {
        Self {
            readers: &[0],
            ..self
        }
    }

    /// Records are judged by the store.
    pub(super) const fn strong(self) -> Self {
        Self {
            readers: &[],
            strong: &[1],
            ..self
        }
    }

    /// Values are also kept in the memory of the instance that judges records, by its mirror and by
    /// the store.
    pub(super) const fn memory(self) -> Self {
        Self {
            strong: self.readers,
            memory: true,
            ..self
        }
    }

    /// Both instances load.
    pub(super) const fn both(self) -> Self {
        Self {
            loaders: &[0, 1],
            ..self
        }
    }

    /// The tag or the function of the record is expired, and not its key.
    pub(super) const fn several(self) -> Self {
        Self {
            expiry: Expiry::Several,
            ..self
        }
    }

    /// The mirror is loaded while the link lives.
    pub(super) const fn late(self) -> Self {
        Self {
            start: Start::WithoutMirrors,
            ..self
        }
    }

    /// There is no ledger at the beginning.
    pub(super) const fn cold(self) -> Self {
        Self {
            start: Start::Cold,
            ..self
        }
    }

    /// After each state, records can be stored and returned.
    pub(super) const fn alive(self) -> Self {
        Self {
            recovers: true,
            ..self
        }
    }
}

/// Returns the scenarios in which no call may return an old value. The long ones are marked.
#[must_use]
pub fn whole() -> Vec<(&'static str, Ledger, bool)> {
    let quick = short()
        .into_iter()
        .map(|(name, ledger)| (name, ledger, false));
    let other = long()
        .into_iter()
        .map(|(name, ledger)| (name, ledger, true));
    quick.chain(other).collect()
}

#[rustfmt::skip]
fn short() -> Vec<(&'static str, Ledger)> {
    let evicted = Events { evictions: 1, ..TAG };
    let evicted_twice = Events { evictions: 2, ..TAG };
    let rotated = Events { others: 3, old_evictions: 1, ..TAG };
    let cut = Events { breaks: 1, ..TAG };
    let expired = Events { expiries: 1, ..TAG };
    let queued = Events { queued: 1, ..cut };
    let overflown = Events { overflows: 1, ..cut };
    let flushed = Events { flushes: 1, ..TAG };
    let failed = Events { failovers: 1, ..TAG };
    vec![
        ("ledger, 2 writers", two(tags(3)).alive()),
        ("ledger, 2 writers, 2 loaders", two(tags(2)).both()),
        ("ledger, evicted", of(evicted).both().alive()),
        ("ledger, evicted twice", of(evicted_twice).both()),
        ("ledger, evicted twice, own mirror", of(evicted_twice).both().own()),
        ("ledger, evicted twice, by the store", of(evicted_twice).both().strong()),
        ("ledger, rotates", rotating(rotated).alive()),
        ("ledger, rotates, by the store", rotating(rotated).strong()),
        ("ledger, evicted while loaded", of(evicted_twice).late()),
        ("ledger, evicted while loaded, own mirror", of(evicted_twice).late().own()),
        ("ledger, rotates while loaded", rotating(Events { others: 2, ..TAG }).late()),
        ("ledger, missing at first", of(evicted).both().cold().alive()),
        ("ledger, missing at first, own mirror", of(evicted).both().own().cold().alive()),
        ("ledger, 2 links break", of(Events { breaks: 2, ..TAG }).alive()),
        ("ledger, 2 links break, own mirror", of(Events { breaks: 2, ..TAG }).own().alive()),
        ("ledger, a key expired", two(expired).alive()),
        ("ledger, a key expired, 2 loaders", of(expired).both()),
        ("ledger, a tag expired", of(Events { evictions: 1, ..expired }).several().alive()),
        ("ledger, a tag expired, own mirror", of(expired).several().own().alive()),
        ("ledger, invalidation queued", of(queued).alive()),
        ("ledger, invalidation queued, own mirror", of(queued).own().alive()),
        ("ledger, too many queued", of(overflown).alive()),
        ("ledger, too many queued, own mirror", of(overflown).own().alive()),
        ("ledger, flushed", of(flushed).both().alive()),
        ("ledger, flushed, own mirror", of(flushed).both().own().alive()),
        ("ledger, failover", of(failed).alive()),
        ("ledger, failover, own mirror", of(failed).own().alive()),
        ("ledger, memory", Ledger { commits: 2, ..of(tags(2)).memory() }),
        ("ledger, memory, own mirror", Ledger { commits: 2, ..of(tags(2)).own().memory() }),
        ("ledger, memory, expired", of(expired).memory()),
        ("ledger, memory, too many queued", of(overflown).memory()),
    ]
}

#[rustfmt::skip]
fn long() -> Vec<(&'static str, Ledger)> {
    let evicted = Events { evictions: 1, ..tags(2) };
    let rotated = Events { others: 3, old_evictions: 1, ..TAG };
    let cut = Events { breaks: 1, ..tags(2) };
    let cut_and_evicted = Events { breaks: 1, evictions: 1, others: 1, ..TAG };
    let expired = Events { expiries: 1, evictions: 1, ..TAG };
    let queued = Events { queued: 1, breaks: 1, evictions: 1, ..TAG };
    let flushed = Events { flushes: 1, ..tags(2) };
    let failed = Events { failovers: 1, ..tags(2) };
    vec![
        ("ledger, 2 writers, evicted", two(evicted).alive()),
        ("ledger, 2 writers, evicted, by the store", two(Events { others: 1, evictions: 2, ..evicted }).strong()),
        ("ledger, 2 writers, evicted while loaded", two(evicted).late()),
        ("ledger, rotates and is evicted", rotating(Events { evictions: 1, ..rotated }).alive()),
        ("ledger, rotates and is evicted, by the store", rotating(Events { evictions: 1, ..rotated }).strong()),
        ("ledger, rotates 3 times while loaded", rotating(rotated).late()),
        ("ledger, rotates while loaded, own mirror", rotating(rotated).late().own()),
        ("ledger, 2 writers, a link breaks", two(cut).alive()),
        ("ledger, 2 writers, a link breaks, own mirror", two(cut).own().alive()),
        ("ledger, a link breaks, evicted", of(cut_and_evicted).alive()),
        ("ledger, a link breaks, evicted, own mirror", of(cut_and_evicted).own().alive()),
        ("ledger, a link breaks, rotates", rotating(Events { breaks: 1, evictions: 0, ..rotated })),
        ("ledger, 2 writers, a tag expired", two(expired).several().alive()),
        ("ledger, evicted, invalidation queued", of(queued).own().alive()),
        ("ledger, 2 writers, flushed", two(flushed).alive()),
        ("ledger, 2 writers, failover", two(failed)),
        ("ledger, 2 writers, memory", two(tags(2)).memory()),
        ("ledger, 2 writers, memory, own mirror", two(tags(2)).own().memory()),
        ("ledger, memory, too many queued, own", of(Events { overflows: 1, breaks: 1, ..TAG }).own().memory()),
        ("ledger, memory, evicted", of(Events { evictions: 1, ..TAG }).both().memory()),
    ]
}
