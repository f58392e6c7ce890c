//! Write guards: while a transaction changes the data behind a key, no value of the key is stored.

use std::sync::Arc;

use crate::cached_function::CachedFunction;
use crate::error::Error;
use crate::fence::FencedAfter;
use crate::key::Key;
use crate::panics::for_each_despite_panics;
use crate::tier::{Guard, Receipt};

/// Keeps values of one key from being stored while a transaction changes the data that they are
/// made of.
///
/// While the guard is held, no instance stores a value of the key, in a shared tier or in its
/// memory: calls run the body. So a value that a reader loads before the commit is not kept after
/// its call. If this process dies between the commit and the invalidation, no old value is left
/// either: the guard ends after a lease time, and the next load sees the commit.
///
/// If the guard is dropped, by an early return or a panic, it invalidates the key too. The tiers do
/// that in the background. A commit that is still in progress then has the rest of a lease time to
/// complete.
#[derive(Debug)]
#[must_use = "a guard ends when it is dropped"]
pub struct WriteGuard {
    function: Arc<CachedFunction>,
    key: Key,
    guards: Vec<Guard>,
}

impl WriteGuard {
    pub(crate) async fn take(function: &Arc<CachedFunction>, key: Key) -> Self {
        let guards = function.guard(&key).await;
        Self {
            function: Arc::clone(function),
            key,
            guards,
        }
    }

    /// Returns `true` if the guard is known to be in place in every shared tier of the function.
    ///
    /// A tier that is not reachable may have lost the guard, or ended it after a lease time. Calls
    /// may then store values until the guard is in place again, which drops them, or until
    /// [`invalidate`](Self::invalidate) does. Only the protection from a death of this process in
    /// between is lost.
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.guards.len() == self.function.guards_wanted()
            && self.guards.iter().all(Guard::is_placed)
    }

    /// Ends the guard after the commit, and invalidates the key; see
    /// [`Handle::invalidate`](crate::Handle::invalidate).
    ///
    /// # Errors
    /// As [`Handle::invalidate`](crate::Handle::invalidate). The guard then ends as if it was
    /// dropped.
    ///
    /// # Cancel safety
    /// If the future is dropped, the tiers invalidate in the background.
    pub async fn invalidate(mut self) -> Result<Receipt, Error> {
        let receipt = self.function.invalidate(&self.key).await?;
        for guard in self.guards.drain(..) {
            guard.end();
        }
        Ok(receipt)
    }
}

impl Drop for WriteGuard {
    fn drop(&mut self) {
        // The fence is raised after the guards have ended, also if one of them panics: the tiers
        // have the invalidation as pending then, and a value that was read from a tier before is
        // not kept.
        let _after = FencedAfter(|| self.function.fence_off(&self.key));
        for_each_despite_panics(self.guards.drain(..), drop);
    }
}

#[cfg(test)]
mod tests;
