//! Write guards: a key that is kept nowhere while a transaction changes what its value is made of.

use std::sync::Arc;

use crate::cached_function::CachedFunction;
use crate::error::Error;
use crate::key::Key;
use crate::tier::{Guard, Receipt};

/// Keeps values of one key from being stored while a transaction changes what they are made of.
///
/// From when it was taken until it ends no instance stores a value of the key, in a shared tier or
/// in its memory: calls run the body. So what a reader sees before the commit is gone with its
/// call; and if this process dies between the commit and the invalidation, nothing old is left: the
/// guard ends by itself after a lease time, and the next load sees the commit.
///
/// Dropped, by an early return or a panic, it invalidates too: the tiers are told in the
/// background. A commit that is then still under way has the rest of a lease time to complete.
#[derive(Debug)]
#[must_use = "it ends when it is dropped"]
pub struct WriteGuard {
    bound: Arc<CachedFunction>,
    key: Key,
    guards: Vec<Guard>,
}

impl WriteGuard {
    pub(crate) async fn take(bound: &Arc<CachedFunction>, key: Key) -> Self {
        let guards = bound.guard(&key).await;
        Self {
            bound: Arc::clone(bound),
            key,
            guards,
        }
    }

    /// Whether every shared tier of the function is known to keep it at this moment. A tier that
    /// cannot be reached is not: it may have lost it, or forgotten it after a lease time, and calls
    /// may store values until it is in place again, which drops them, or until
    /// [`invalidate`](Self::invalidate) does. What is lost is the protection from a death in
    /// between.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.guards.len() == self.bound.guards_wanted() && self.guards.iter().all(Guard::is_placed)
    }

    /// Ends it, after the commit: drops what is kept of the key; see
    /// [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Cancel safety
    /// Dropped before it returned, the tiers are told in the background.
    pub async fn invalidate(mut self) -> Result<Receipt, Error> {
        let receipt = self.bound.invalidate(&self.key).await?;
        for guard in self.guards.drain(..) {
            guard.end();
        }
        Ok(receipt)
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        // What the tiers are to be told later is known to them before: what was read from them
        // until then is not kept.
        self.guards.clear();
        self.bound.fence_off(&self.key);
    }
}
