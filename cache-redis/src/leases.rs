//! The leases that this instance holds, as the commands name them.

use cache_core::tier::kit::StoreLease;

/// A lease, without its token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RedisLease {
    /// The name of the lease's key.
    pub(crate) name: String,
    /// The digest of the key that the lease may fill.
    pub(crate) digest: u64,
    /// `true` if other callers wait for the lease. If not, it is neither renewed nor released: it
    /// lives as long as a load may take, and blocks no caller.
    pub(crate) is_exclusive: bool,
}

impl StoreLease for RedisLease {
    fn is_renewed(&self) -> bool {
        self.is_exclusive
    }

    fn is_released(&self) -> bool {
        self.is_exclusive
    }
}
