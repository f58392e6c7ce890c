//! Reasons why a value that a tier has does not answer a call. The code that judges entries and
//! records returns them, so that an explanation of a key judges by the same code as a call.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The invalidation that has voided a value since its load began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FencedBy {
    /// The key was invalidated. Also if so many other keys were that it is not known any more
    /// whether this one was.
    Key,
    /// The function was invalidated, or everything. A link that was lost counts too, because it is
    /// not known what was invalidated in the meantime.
    Function,
    /// A tag of the value was invalidated, or the ledger of the tier does not reach back to its
    /// load. In a function without a stale window also if the tag was expired.
    Tag,
}

/// Which part of an undamaged record is not that of its function and key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mismatch {
    /// Another codec wrote it.
    Codec,
    /// It is of another version of the function.
    Version,
    /// The value is of another type, or the type had other fields.
    Shape,
    /// It belongs to another key.
    Key,
    /// The function had tags or a stale window when it was written and has none now, or the other
    /// way around.
    Tags,
}

/// Why an intact record of a key, which was valid once, is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outdated {
    /// Its value is no longer fresh, and no window allows it.
    Expired,
    /// It carries another epoch than the function has now.
    OtherEpoch,
    /// It carries another history than the store has now, or is of another run of this process.
    OtherHistory,
    /// It is not known which stamp a valid record carries.
    UnknownStamp,
    /// It was invalidated.
    FencedOff(FencedBy),
    /// It is judged by the fences of this instance, which may miss invalidations now.
    NotCoherent,
    /// It takes the place of a value that could not be stored.
    Nothing,
    /// It says that there is no value, and the function does not keep this any more.
    Absence,
}

/// Why a record cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Damage {
    /// Its bytes are no record, or were changed.
    Bytes,
    /// It is whole, and its value cannot be decoded.
    Value,
}

impl fmt::Display for FencedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Key => "the key",
            Self::Function => "the function",
            Self::Tag => "a tag",
        })
    }
}

impl fmt::Display for Mismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Codec => "codec",
            Self::Version => "version",
            Self::Shape => "shape",
            Self::Key => "key",
            Self::Tags => "tags",
        })
    }
}
