//! Stale values: values past their ttl that may still answer calls for some time.

use crate::clock::Moment;
use crate::entry::Held;

/// A stale value, with what a caller needs to judge at any later moment whether it may return it.
#[derive(Clone)]
pub(crate) struct StaleValue {
    pub(crate) value: Held,
    /// The number of the fences when the load of this value began.
    pub(crate) start: u64,
    /// When the ttl of the value ended. The windows begin at this moment.
    pub(crate) fresh_until: Moment,
}
