//! Events of a run. In a file, each is one line.

mod format;

pub use self::format::{NoEvent, parse};
use crate::items::{Item, Scope};

/// Microseconds of [`clock::now`](crate::clock::now).
pub type Micros = u64;

/// One life of an instance. An instance that is killed and started again begins another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Life {
    /// Number of the instance.
    pub instance: u16,
    /// Number of the life, counted from the first start.
    pub number: u16,
}

/// Kind of a call that reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// A call of one key.
    Call,
    /// A call of several keys.
    Batch,
    /// A look without a load.
    Peek,
    /// A call that has to return the current version, without a bound.
    Strong,
    /// A load that replaces the value, and returns the current version.
    Refresh,
}

impl By {
    /// Returns `true` if the call has to return the current version.
    #[must_use]
    pub fn is_strong(self) -> bool {
        matches!(self, Self::Strong | Self::Refresh)
    }
}

/// Outcome of an invalidation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// It was acknowledged.
    Acked,
    /// It was queued.
    Queued,
    /// It was dropped before it returned.
    Dropped,
    /// No instance can return the old value any more.
    Settled,
}

/// A time in which an old primary continues to run beside the new one, with some of the instances.
///
/// Instances of one side cannot know what the primary of the other side acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// The primary loses its replica.
    pub start: Micros,
    /// From here on all instances but those that stay reach the new primary.
    pub moved: Micros,
    /// From here on no instance reaches the old primary.
    pub united: Micros,
    /// From here on all instances are coherent again.
    pub end: Micros,
    /// Instances with a lower number stay with the old primary.
    pub stay: u16,
}

impl Split {
    /// Returns `true` if the split lasts at that time.
    #[must_use]
    pub fn covers(&self, at: Micros) -> bool {
        (self.start..=self.end).contains(&at)
    }
}

/// Kind of a time to which special rules apply. At other times, faults may occur.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Window {
    /// No fault.
    Calm,
    /// All faults have ended, and all queued invalidations were sent.
    Rest,
    /// No fault, directly after some: the instances recover.
    Quiet,
    /// No instance can reach the server.
    Unreachable,
    /// The server evicts records, so a key may have to be loaded again. Other windows may cover the
    /// same time.
    Evicting,
}

/// An event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// A call returned a value.
    Read {
        /// Instance of the call.
        life: Life,
        /// Key of the call.
        item: Item,
        /// Version that was returned.
        version: u64,
        /// Kind of the call.
        by: By,
        /// Begin of the call.
        start: Micros,
        /// Return of the call.
        end: Micros,
    },
    /// An invalidation returned.
    Invalidation {
        /// Instance of the invalidation.
        life: Life,
        /// Invalidated items.
        scope: Scope,
        /// Begin of the invalidation.
        start: Micros,
        /// Return of the invalidation.
        end: Micros,
        /// Its outcome.
        reached: Reached,
    },
    /// The database has a new version.
    Commit {
        /// Key of the version.
        item: Item,
        /// The version.
        version: u64,
        /// Time of the commit.
        at: Micros,
    },
    /// The database was read.
    Load {
        /// Instance of the load.
        life: Life,
        /// Key of the load.
        item: Item,
        /// Time of the load.
        at: Micros,
    },
    /// A call without a fault returned, with any result.
    Call {
        /// Instance of the call.
        life: Life,
        /// Key of the call.
        item: Item,
        /// Begin of the call.
        start: Micros,
        /// Return of the call.
        end: Micros,
    },
    /// An instance reported its health.
    Health {
        /// The instance.
        life: Life,
        /// `true` if it reported that it is well.
        well: bool,
        /// How often it was isolated since it started.
        isolations: u64,
        /// Time of the request.
        start: Micros,
        /// Time of the reply.
        end: Micros,
    },
    /// Code in an instance panicked.
    Panic {
        /// The instance.
        life: Life,
        /// Time of the panic.
        at: Micros,
    },
    /// A time in which the instances were divided between two primaries.
    Split(Split),
    /// A time of a special kind.
    Window {
        /// The kind.
        kind: Window,
        /// Begin of the time.
        start: Micros,
        /// End of the time.
        end: Micros,
    },
}

impl Event {
    /// Returns the begin of a read, load, commit or invalidation that concerns the key.
    #[must_use]
    pub fn of_item(&self, wanted: Item) -> Option<Micros> {
        match *self {
            Self::Read { item, start, .. } if item == wanted => Some(start),
            Self::Commit { item, at, .. } | Self::Load { item, at, .. } if item == wanted => {
                Some(at)
            }
            Self::Invalidation { scope, start, .. } if scope.covers(wanted) => Some(start),
            _ => None,
        }
    }
}
