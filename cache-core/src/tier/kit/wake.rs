//! Waking waiters after a change.

use std::fmt;
use std::sync::Arc;

use tokio::sync::Notify;

/// Wakes the waiters for a change when it is dropped. The change itself is done.
///
/// A waker may run any code, so it must not run under a lock. A caller that holds a lock keeps this
/// until it has released the lock; any other drops it at once, as the end of a statement does.
pub struct WakeOnDrop(Vec<Arc<Notify>>);

impl WakeOnDrop {
    pub(crate) fn new(waiters: impl IntoIterator<Item = Arc<Notify>>) -> Self {
        Self(waiters.into_iter().collect())
    }
}

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        for waiters in &self.0 {
            waiters.notify_waiters();
        }
    }
}

impl fmt::Debug for WakeOnDrop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WakeOnDrop")
    }
}
