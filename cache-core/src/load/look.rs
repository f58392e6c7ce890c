//! The result of a look-up in memory for a function with times besides its ttl.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use super::Held;
use crate::codec::ErasedType;
use crate::outcome::LoadOutcome;
use crate::stale::StaleValue;

/// The result that memory has for a call.
#[derive(Clone)]
pub(crate) enum Look {
    /// A fresh value.
    Fresh(Held),
    /// The fresh result that there is no value.
    Absent,
    /// A fresh error, as what an error can be made of.
    Failed(Arc<dyn Any + Send + Sync>),
    /// A value that is stale or due. If `replaces` is set, the caller begins the load that replaces
    /// it: no other caller does.
    Stale {
        value: Held,
        replaces: Option<Revalidated>,
    },
    Miss,
}

/// A value that a load in the background is to replace.
#[derive(Clone, Default)]
pub(crate) struct Revalidated {
    /// The value, if it is stale.
    pub(crate) stale: Option<StaleValue>,
    /// A record that is fresh for no longer than this is the one to be replaced.
    pub(crate) due_within: Duration,
}

impl Look {
    /// Returns `true` for a value that is stale, and not for one that is due.
    pub(crate) fn is_stale(&self) -> bool {
        let Self::Stale { replaces, .. } = self else {
            return false;
        };
        let replaces = replaces.as_ref();
        replaces.is_none_or(|revalidated| revalidated.stale.is_some())
    }

    /// Returns a fresh result as the outcome of a load, if it fits the type of the values.
    pub(super) fn fresh_outcome(self, value_type: &dyn ErasedType) -> Option<LoadOutcome> {
        match self {
            Self::Fresh(held) => value_type.is_of(&held).then_some(LoadOutcome::Value(held)),
            Self::Absent => Some(LoadOutcome::Absent),
            Self::Failed(error) => Some(LoadOutcome::Failed(error)),
            Self::Stale { .. } | Self::Miss => None,
        }
    }
}
