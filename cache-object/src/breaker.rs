//! Keeps callers away from a storage that does not respond.

use std::sync::atomic::{AtomicU32, Ordering};

/// The breaker opens after this many consecutive timeouts.
const MAX_TIMEOUTS: u32 = 8;

/// Counts consecutive operations that timed out. The breaker is open from the eighth one until any
/// operation gets a reply: one that was in progress, the owner's next heartbeat, or a ping.
#[derive(Debug, Default)]
pub(crate) struct ConsecutiveTimeouts(AtomicU32);

impl ConsecutiveTimeouts {
    pub(crate) fn is_open(&self) -> bool {
        // Relaxed, here and below: the counter orders no other memory.
        self.0.load(Ordering::Relaxed) >= MAX_TIMEOUTS
    }

    pub(crate) fn reset(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn add_one(&self) {
        // Operations that were in progress when the breaker opened are counted too. There are far
        // fewer of them than would overflow the counter.
        if self.0.fetch_add(1, Ordering::Relaxed) + 1 == MAX_TIMEOUTS {
            tracing::warn!(target: "multi_tier_cached::object", "object storage does not respond; continuing without it until it does");
        }
    }
}
