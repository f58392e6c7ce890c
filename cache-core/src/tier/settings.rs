//! The properties of a tier that do not change during its life.

use std::time::Duration;

/// The properties of a tier that do not change during its life.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierSettings {
    /// The kind of the tier in one word, for logs and errors: `redis`.
    pub kind: &'static str,
    /// The time that one call may spend on the tier in all, besides its body.
    pub time_limit: Duration,
    /// The size in bytes of the largest record that is sent to the tier.
    pub max_record_bytes: usize,
    /// `true` if operations complete while every thread of the async runtime is blocked on one of
    /// them, and after that runtime has ended. Only then may plain functions use the tier, because
    /// a plain function blocks its thread. `false` for a tier that spawns tasks or waits for a
    /// network.
    pub works_without_runtime: bool,
}

impl TierSettings {
    /// Creates the settings of a tier that needs the async runtime, with records of any size.
    #[must_use]
    pub const fn new(kind: &'static str, time_limit: Duration) -> Self {
        Self {
            kind,
            time_limit,
            max_record_bytes: usize::MAX,
            works_without_runtime: false,
        }
    }

    /// Sets the size in bytes of the largest record that is sent to the tier. Default: no limit.
    #[must_use]
    pub const fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// Declares that operations complete without the async runtime, so that plain functions may
    /// use the tier; see [`works_without_runtime`](Self::works_without_runtime). Default: they need
    /// it.
    #[must_use]
    pub const fn without_runtime(mut self) -> Self {
        self.works_without_runtime = true;
        self
    }
}
