//! Keeps callers away from a storage that does not answer.

use std::sync::atomic::{AtomicU32, Ordering};

/// So many operations in a row that were not answered in time, and callers go on without the storage.
const MOST: u32 = 8;

/// Counts operations that were not answered in time. Open from the eighth in a row on, until something is answered again: an
/// operation that was under way, the owner's next beat, or a ping.
#[derive(Debug, Default)]
pub(crate) struct Strikes(AtomicU32);

impl Strikes {
    pub(crate) fn is_out(&self) -> bool {
        // Relaxed: nothing else is read by it.
        self.0.load(Ordering::Relaxed) >= MOST
    }

    pub(crate) fn answered(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    pub(crate) fn timed_out(&self) {
        // Operations that were under way come too; there are never as many as would overflow it.
        if self.0.fetch_add(1, Ordering::Relaxed) + 1 == MOST {
            tracing::warn!("the object storage does not answer; going on without it until it does");
        }
    }
}
