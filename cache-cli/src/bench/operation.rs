//! The operations that are measured.

/// An operation, in the order in which they are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Ping,
    Get,
    Lease,
    Fill,
    Hit,
    Invalidate,
    Barrier,
}

impl Operation {
    /// All operations. A fill needs the lease, a hit the record, and an invalidation comes after
    /// both.
    pub(super) const ALL: [Self; 7] = [
        Self::Ping,
        Self::Get,
        Self::Lease,
        Self::Fill,
        Self::Hit,
        Self::Invalidate,
        Self::Barrier,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ping => "PING",
            Self::Get => "GET",
            Self::Lease => "lease",
            Self::Fill => "fill",
            Self::Hit => "hit",
            Self::Invalidate => "invalidate",
            Self::Barrier => "barrier",
        }
    }

    /// Returns the bare command beside which the operation is shown: the one that carries a value
    /// as well, or none.
    pub(super) fn peer(self) -> Option<Self> {
        match self {
            Self::Ping | Self::Get => None,
            Self::Fill | Self::Hit => Some(Self::Get),
            Self::Lease | Self::Invalidate | Self::Barrier => Some(Self::Ping),
        }
    }

    pub(super) fn meaning(self) -> &'static str {
        match self {
            Self::Ping => "a bare round trip",
            Self::Get => "a bare read of as many bytes as a record has",
            Self::Lease => "takes the right to load a key; a call that finds no value waits for it",
            Self::Fill => {
                "stores a loaded value; the call that loads waits for it, and calls that wait for \
                 that load do not if there is memory"
            }
            Self::Hit => "reads a record; a call that memory does not answer waits for it",
            Self::Invalidate => "deletes a record and announces it to all instances",
            Self::Barrier => {
                "proves that all invalidations have arrived; runs in the background, and must take \
                 less than the staleness bound"
            }
        }
    }

    /// Returns `true` if the operation can be done once for each key of a round.
    pub(super) fn is_once_for_a_key(self) -> bool {
        self == Self::Lease || self.uses_all_keys()
    }

    /// Returns `true` if the operation is done for each key that was leased in a round, however
    /// long that takes. Otherwise the next round would find leases and records.
    pub(super) fn uses_all_keys(self) -> bool {
        matches!(self, Self::Fill | Self::Invalidate)
    }
}
