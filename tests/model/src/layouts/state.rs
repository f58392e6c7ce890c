//! State of the shards and of the instances.

use super::config::MOST;

/// The history of a shard, as the server holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct History {
    pub(super) number: u8,
    /// The number of shards that it was begun for.
    pub(super) layout: u8,
}

/// A shard on its server.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct Server {
    pub(super) history: Option<History>,
    /// Version and history of the record of the key.
    pub(super) record: Option<(u8, u8)>,
    /// It changes when the sequence of messages is lost.
    pub(super) sequence: u8,
}

/// The link of an instance to a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(super) enum Link {
    #[default]
    Down,
    /// The shard has no history, and the instance looks at the others.
    Looks,
    /// No other shard has another layout, so a history may begin.
    Begins,
    Up {
        history: u8,
        sequence: u8,
    },
}

/// An instance.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Instance {
    pub(super) shards: u8,
    /// The shards that found another layout, a bit for each.
    pub(super) conflicts: u8,
    pub(super) links: [Link; MOST],
    /// The version of the key in memory.
    pub(super) memory: Option<u8>,
    /// The version whose invalidation was acknowledged before the last barriers.
    pub(super) due: u8,
}

impl Instance {
    pub(super) fn new(shards: u8) -> Self {
        Self {
            shards,
            conflicts: 0,
            links: [Link::Down; MOST],
            memory: None,
            due: 0,
        }
    }
}

/// State of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    pub(super) servers: [Server; MOST],
    pub(super) instances: Vec<Instance>,
    /// The version of the truth, and the newest version whose invalidation was acknowledged.
    pub(super) truth: u8,
    pub(super) acknowledged: u8,
    /// The number of the next history.
    pub(super) next: u8,
    pub(super) restarted: bool,
    pub(super) links: u8,
    pub(super) restarts: u8,
    pub(super) flushes: u8,
    /// The shards whose history was evicted, a bit for each.
    pub(super) evictions: u8,
    pub(super) removals: u8,
}

impl State {
    /// Returns a state in which nothing was written, and nothing that happens a limited number of
    /// times has happened.
    pub(super) fn without_counts(
        servers: [Server; MOST],
        instances: Vec<Instance>,
        next: u8,
    ) -> Self {
        Self {
            servers,
            instances,
            next,
            truth: 0,
            acknowledged: 0,
            restarted: false,
            links: 0,
            restarts: 0,
            flushes: 0,
            evictions: 0,
            removals: 0,
        }
    }
}
