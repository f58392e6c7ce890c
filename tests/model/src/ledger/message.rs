//! Messages of the channel.

/// A message of the channel. A base of zero was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Message {
    /// The tag of the record was invalidated.
    Tag { base: u8, number: u8 },
    /// Another tag was invalidated.
    Other { base: u8 },
    /// The key of the record was expired.
    Expiry { base: u8, number: u8 },
    /// A generation began.
    Rotated { base: u8, begun_at: u8 },
    /// The ledger begins.
    Begun { base: u8 },
    /// All tags were invalidated, and the ledger begins.
    All { base: u8 },
    /// The reply to a barrier: the versions whose invalidation and whose expiry were acknowledged
    /// when it was sent.
    Pong { hard: u8, soft: u8 },
}

impl Message {
    /// Returns the base, if the message is one of the ledger.
    pub(super) fn base(self) -> Option<u8> {
        match self {
            Self::Tag { base, .. }
            | Self::Other { base }
            | Self::Expiry { base, .. }
            | Self::Rotated { base, .. }
            | Self::Begun { base }
            | Self::All { base } => Some(base),
            Self::Pong { .. } => None,
        }
    }
}
