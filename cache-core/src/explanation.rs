//! The result of `explain`: the state of a key in each tier, and the outcome of the next call.

mod table;

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::events::Event;
use crate::level::Level;
use crate::reason::{FencedBy, Mismatch};
use crate::tier::LeaseSeen;

/// The state of a key in each tier at one moment, and the outcome that a call of it has now.
/// `Display` writes a table.
///
/// It has no value, and no text of an error of the function. It has the arguments of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Explanation {
    /// The name of the function, with the types of a generic one.
    pub function: String,
    /// The version of the function.
    pub version: u32,
    /// The arguments, as the names of records have them. Empty if they make no key.
    pub key: String,
    /// Why the arguments make no key, or why the function does not have the tiers that it asks for.
    #[serde(default)]
    pub problem: Option<String>,
    /// The tiers of the function, in look-up order.
    #[serde(default)]
    pub tiers: Vec<ExplainedTier>,
    /// The load of the key on this instance that a call would join, if there is one.
    #[serde(default)]
    pub flight: Option<ExplainedFlight>,
    /// Set if this instance holds a write guard of the key.
    #[serde(default)]
    pub is_guarded: bool,
    /// The outcome of a call that is made now.
    pub next_call: NextCall,
    /// The last events of the runtime that concern the key, its function or its tiers, the oldest
    /// first: at most eight.
    #[serde(default)]
    pub events: Vec<Event>,
}

/// The state of a key in one tier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExplainedTier {
    /// The level of the tier.
    pub level: Level,
    /// The kind of the tier, such as `redis`, or `memory`.
    pub kind: Cow<'static, str>,
    /// How long a value that was loaded is fresh in this tier, before jitter. `None` for a tier
    /// that is not used.
    #[serde(default)]
    pub ttl: Option<Duration>,
    /// The judgement of a call on the value or the record that the tier has.
    pub verdict: Verdict,
    /// How long the value or the result is still fresh, if it is.
    #[serde(default)]
    pub fresh_for: Option<Duration>,
    /// How long ago its freshness ended, if it has.
    #[serde(default)]
    pub stale_for: Option<Duration>,
    /// Its record, if the tier has one that is intact.
    #[serde(default)]
    pub record: Option<RecordSeen>,
    /// The lease on the key, if the tier tells of one.
    #[serde(default)]
    pub lease: Option<LeaseSeen>,
    /// How long no load begins for a caller that has a value, because a load failed.
    #[serde(default)]
    pub back_off: Option<Duration>,
    /// The number of write guards of the key that the tier has. `None` if that is not known: the
    /// tier did not answer, does not tell, or may not count them.
    #[serde(default)]
    pub guards: Option<u64>,
    /// The channel over which other instances invalidate the key; `None` for a private tier.
    #[serde(default)]
    pub channel: Option<ChannelSeen>,
}

impl ExplainedTier {
    /// Creates the explanation of a tier of which nothing but the verdict is known.
    pub(crate) fn new(level: Level, verdict: Verdict) -> Self {
        Self {
            level,
            kind: Cow::Borrowed(""),
            ttl: None,
            verdict,
            fresh_for: None,
            stale_for: None,
            record: None,
            lease: None,
            back_off: None,
            guards: None,
            channel: None,
        }
    }
}

/// The header of an intact record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct RecordSeen {
    /// Its size in bytes.
    pub bytes: usize,
    /// The time since it was stored, by the clock of the tier.
    pub age: Duration,
    /// How long the load of its value took.
    pub load: Duration,
    /// Set if it is a copy of the record of a tier below.
    pub is_copy: bool,
}

/// The state of a channel over which other instances invalidate a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ChannelSeen {
    /// How long the channel has been coherent without a break; `None` while it is not.
    pub coherent_for: Option<Duration>,
    /// The time since the last answered barrier was sent.
    pub last_barrier: Option<Duration>,
}

/// The judgement of a call on the value or the record that a tier has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Verdict {
    /// A fresh value.
    Good,
    /// A fresh value that the next call begins to load again, ahead of its end (`refresh_ahead`).
    Due,
    /// A value that is past its ttl, or was expired, and that may be returned in a stale window.
    Stale,
    /// The fresh result that there is no value (`none_ttl`).
    NoValue,
    /// A fresh error (`error_ttl`).
    KeptError,
    /// A value that is past its ttl, and that no window allows.
    Expired,
    /// A value that was invalidated since its load began.
    FencedOff {
        /// The target of the invalidation.
        by: FencedBy,
    },
    /// A record of another epoch of the function: the whole function was invalidated since.
    OtherEpoch,
    /// A record of another history of the store: the store lost data since, or everything was
    /// invalidated. In a private tier beside a shared one also a record of another run of the
    /// process.
    OtherHistory,
    /// A record that cannot be judged: the store does not know the epoch of the function or its
    /// own history.
    UnknownStamp,
    /// A value that is judged by the invalidations that this instance knows, while it may miss some
    /// of them.
    NotCoherent,
    /// Bytes that are no record, or were changed.
    Damaged,
    /// An intact record whose value cannot be decoded.
    Undecodable,
    /// An intact record of something else.
    Mismatch {
        /// The part that differs.
        of: Mismatch,
    },
    /// A record that takes the place of a value that could not be stored.
    Nothing,
    /// A record that says that there is no value, which the function does not keep any more.
    Absence,
    /// A value that answers calls only while the tiers below are not reachable: it was not known
    /// whether its key was guarded.
    Stopgap,
    /// Nothing that may be used: an invalidation of the key or of a tag of it is queued, in this
    /// tier or in one below it.
    Pending,
    /// A record that a strong call does not ask for, because a private tier may lag behind.
    PassedOver,
    /// Nothing.
    Absent,
    /// The tier could not be asked.
    Unreachable {
        /// The reason.
        error: String,
    },
    /// An override has disabled the tier for the function.
    Disabled,
    /// Nothing, and a load stores nothing: a value of the function did not survive its codec.
    MemoryOnly,
}

/// A load of a key on this instance.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ExplainedFlight {
    /// Set if calls wait for it.
    pub has_waiters: bool,
    /// Set if its body has returned, and the result is being stored.
    pub has_body_ended: bool,
}

/// The outcome of a call, as far as it is known before the call is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum NextCall {
    /// It returns what a tier has.
    Answered {
        /// The level of the tier.
        by: Level,
        /// The levels to which the value is copied.
        copied_to: Vec<Level>,
        /// Why it returns a stale value, if it does.
        stale: Option<StaleReason>,
        /// Set if it also begins a load in the background, which replaces the value: by what a tier
        /// below has, or by its body. A call of a function without memory draws when a value is
        /// due, so it may begin one shortly before this is set.
        begins_load: bool,
    },
    /// It waits for a load that runs on this instance, and returns its result.
    Joins,
    /// It waits for a load elsewhere, which holds the lease of a tier.
    Waits {
        /// The level of that tier.
        level: Level,
    },
    /// It runs the body.
    Loads {
        /// Set if the value may be kept. Otherwise the key is guarded, or makes no key.
        is_kept: bool,
        /// Set if there is a stale value, which it returns if the load fails.
        has_stale: bool,
    },
}

/// Why a call returns a stale value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StaleReason {
    /// The value is in the window in which a load in the background replaces it
    /// (`stale_while_revalidate`).
    Revalidated,
    /// A load of the key failed, and the next one does not begin yet (`stale_if_error`).
    BackedOff,
}
