//! Stale values: values past their freshness, which calls may still return for some time.

use crate::clock::Moment;
use crate::entry::Held;
use crate::fence::TagStripes;

/// A value that callers may get in place of the result of a load.
///
/// Whether they may is judged at the moment at which each of them would return it, because the
/// value can be invalidated while they wait.
#[derive(Clone)]
pub(crate) struct StaleValue {
    pub(crate) value: Held,
    /// The number of the fences when the load of the value began.
    pub(crate) start: u64,
    /// The number up to which the key is known not to have been invalidated since.
    pub(crate) dated: u64,
    /// The end of the value's freshness, at which its windows begin. It is later than now if the
    /// value was expired.
    pub(crate) fresh_until: Moment,
    /// `true` if the value was found expired, so that it is stale before `fresh_until`.
    pub(crate) is_expired: bool,
    /// The fences of the value's tags.
    pub(crate) tags: TagStripes,
}
