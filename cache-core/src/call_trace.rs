//! The result of [`CacheRuntime::traced`](crate::CacheRuntime::traced): how each call was answered,
//! and the steps that it took.

mod traced_call;

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub(crate) use self::traced_call::{StepTimer, TracedCall, TracedCalls, UntilDropped};
use crate::level::Level;

/// The trace of one call of a cached function. `Display` writes it as lines.
///
/// It has no value, and no text of an error of the function. It has the arguments of the key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallTrace {
    /// The name of the function, with the types of a generic one.
    pub function: String,
    /// The arguments, as the names of records have them. `None` for a batch, and for arguments that
    /// make no key.
    #[serde(default)]
    pub key: Option<String>,
    /// For a batch, the number of its keys that memory did not have, or that of its ids if memory
    /// had all of them.
    #[serde(default)]
    pub keys: Option<usize>,
    /// How the call was answered.
    pub outcome: CallOutcome,
    /// The tier that answered the call, if one did. `None` for a batch, whose keys may differ.
    #[serde(default)]
    pub tier: Option<Level>,
    /// How long the value that a tier had is still fresh.
    #[serde(default)]
    pub fresh_for: Option<Duration>,
    /// How long the call took. `None` if it had not ended when the trace did.
    #[serde(default)]
    pub took: Option<Duration>,
    /// The operations of tiers, the loads of other calls, and the body for which the call
    /// waited, in the order in which they began. At most 256. Empty if memory answered the call.
    #[serde(default)]
    pub steps: Vec<CallStep>,
}

/// How a call was answered. A batch has the last of these that one of the keys has which memory did
/// not have; if memory had all, [`Hit`](Self::Hit) or [`Stale`](Self::Stale).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum CallOutcome {
    /// By a fresh value, or a kept result, that a tier had.
    Hit,
    /// By a stale value.
    Stale,
    /// By the load of another call.
    Joined,
    /// By its own body, whose result is not kept.
    Uncached,
    /// By its own body, also if that failed.
    Loaded,
    /// By the error of a timeout.
    TimedOut,
    /// Not at all: it was dropped, or its body panicked.
    Cancelled,
}

impl CallOutcome {
    /// Returns the outcome as spans have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Stale => "stale",
            Self::Joined => "joined",
            Self::Uncached => "uncached",
            Self::Loaded => "loaded",
            Self::TimedOut => "timed_out",
            Self::Cancelled => "cancelled",
        }
    }

    /// Returns `true` if the cache had what the call returned.
    pub(crate) fn is_of_cache(self) -> bool {
        matches!(self, Self::Hit | Self::Stale)
    }
}

/// One step of a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CallStep {
    /// The kind of the step.
    pub kind: StepKind,
    /// When the step began, counted from the beginning of the call.
    pub began: Duration,
    /// How long it took. `None` if it had not ended when the call did.
    #[serde(default)]
    pub took: Option<Duration>,
    /// Its outcome, as spans have it: `ok`, `error` or `timeout` of an operation, and `value`,
    /// `absent`, `error` or `cancelled` of a body.
    #[serde(default)]
    pub outcome: Option<Cow<'static, str>>,
}

/// The kinds of steps for which a call waits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum StepKind {
    /// An operation of a tier below memory.
    Operation {
        /// The level of the tier.
        tier: Level,
        /// The operation: `read`, `lease` or `fill`. In a function whose loads may outlive their
        /// callers, also `invalidate`, `expire` or `guard`, if its body makes a change.
        operation: Cow<'static, str>,
    },
    /// The load of another call on this instance.
    Flight,
    /// A load elsewhere, which holds the lease of a tier.
    Lease,
    /// The body of the function.
    Body,
}

impl fmt::Display for CallTrace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.function)?;
        match (&self.key, self.keys) {
            (Some(key), _) => write!(f, "  key {key}")?,
            (None, Some(keys)) => write!(f, "  {keys} keys")?,
            (None, None) => f.write_str("  no key")?,
        }
        write!(f, "  {}", self.outcome.name())?;
        if let Some(tier) = self.tier {
            write!(f, " in {tier}")?;
        }
        if let Some(left) = self.fresh_for {
            write!(f, ", fresh for {left:.1?}")?;
        }
        match self.took {
            Some(took) => write!(f, ", {took:.1?}")?,
            None => f.write_str(", not ended")?,
        }
        self.steps
            .iter()
            .try_for_each(|step| write!(f, "\n  {step}"))
    }
}

impl fmt::Display for CallStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "after {:.1?}  ", self.began)?;
        match &self.kind {
            StepKind::Operation { tier, operation } => write!(f, "{tier} {operation}")?,
            StepKind::Flight => f.write_str("load of another call")?,
            StepKind::Lease => f.write_str("load elsewhere")?,
            StepKind::Body => f.write_str("body")?,
        }
        if let Some(outcome) = &self.outcome {
            write!(f, ": {outcome}")?;
        }
        match self.took {
            Some(took) => write!(f, ", {took:.1?}"),
            None => f.write_str(", not ended"),
        }
    }
}
