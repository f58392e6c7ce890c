//! Loads, their leases, and the calls that wait for them.

/// Kind of what the server has in the place of a key's lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Exclusive,
    /// Several callers may hold it.
    Shared,
    /// No lease: a load failed, and no load begins for a caller that has a value.
    BackOff,
}

/// The right to fill one key, or a back-off in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Lease {
    /// The number of the lease. A back-off has the number of failed loads in its place, which does
    /// not distinguish it from another one: [`BACK_OFF`].
    pub(super) token: u8,
    pub(super) epoch: u8,
    pub(super) history: u8,
    pub(super) kind: Kind,
}

/// The token of each back-off.
pub(super) const BACK_OFF: u8 = 0;

/// A value that callers may get although it is stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Stale {
    pub(super) version: u8,
    /// The number of the fences when the load of the value began.
    pub(super) start: u8,
}

/// One of the two loads that an instance may have at a time.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Slot {
    /// The load of a caller.
    Call,
    /// A load in the background, which has no caller.
    Background,
}

/// The steps of a load that are done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// A load in the background that has not asked the server.
    Begun,
    /// A record was read from the server, and is not in memory yet.
    Read { version: u8, age: Age },
    /// The lease is granted, and the body has not read the truth. A load has no lease only if the
    /// guard is removed that it needs one.
    Leased { lease: Option<Lease>, link: u8 },
    /// The body has read the truth.
    Loaded {
        lease: Option<Lease>,
        link: u8,
        version: u8,
    },
}

/// Age of one copy of a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Age {
    Fresh,
    /// Calls get the value at once, and a load in the background replaces it. A fresh value that is
    /// due is treated in the same way.
    Revalidate,
    /// Calls get the value if their load fails.
    IfError,
}

/// A load in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Load {
    pub(super) key: u8,
    pub(super) start: u8,
    pub(super) stage: Stage,
    /// The value that callers may get if the load fails.
    pub(super) stale: Option<Stale>,
    /// `true` if the lease was asked for by a caller that has a value.
    pub(super) is_refresh: bool,
}

impl Load {
    pub(super) const fn new(key: u8, start: u8, stage: Stage) -> Self {
        Self {
            key,
            start,
            stage,
            stale: None,
            is_refresh: false,
        }
    }

    /// Returns the lease of a load and the link on which it was granted.
    pub(super) fn lease(&mut self) -> Option<(&mut Lease, &mut u8)> {
        match &mut self.stage {
            Stage::Begun | Stage::Read { .. } => None,
            Stage::Leased { lease, link } | Stage::Loaded { lease, link, .. } => {
                lease.as_mut().map(|lease| (lease, link))
            }
        }
    }

    /// Returns `true` if the body of the load runs, or has returned.
    pub(super) fn is_in_body(&self) -> bool {
        matches!(self.stage, Stage::Leased { .. } | Stage::Loaded { .. })
    }
}

/// A call that waits for the load of another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Waiter {
    /// It gets the value of a load. Older versions than `needs` were invalidated too long before
    /// the call began.
    Waits { slot: Slot, needs: u8 },
    /// The load failed, and the waiter has not run since.
    HasStale { key: u8, stale: Stale },
}

impl Waiter {
    pub(super) fn is_of(self, load: Slot) -> bool {
        matches!(self, Self::Waits { slot, .. } if slot == load)
    }
}
