//! Everything that the server does not know, or may not know: keys by their names, and tags.

use std::sync::atomic::{AtomicBool, Ordering};

use cache_core::tier::kit::PendingInvalidations;
use cache_core::{Error, ErrorKind};

use super::invalidated::Invalidated;
use super::tags::PendingTags;

/// The pending invalidations, of both kinds.
#[derive(Debug, Default)]
pub(super) struct Pending {
    pub(super) targets: PendingInvalidations,
    pub(super) tags: PendingTags,
    is_closed: AtomicBool,
}

impl Pending {
    pub(super) fn queue(&self, invalidated: &Invalidated) {
        match invalidated {
            Invalidated::Target(target) => self.targets.queue(target.borrow()),
            Invalidated::Tags(tags) => self.tags.queue(tags),
            Invalidated::AllTags => self.tags.queue_all(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.targets.len() + self.tags.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Returns everything that is pending now.
    pub(super) fn all(&self) -> Vec<Invalidated> {
        let batch = self.targets.batch();
        let targets = batch.targets().map(Invalidated::of);
        let tags = self.tags.batch().map(|(tags, _)| tags);
        targets.chain(tags).collect()
    }

    /// Waits until nothing is pending.
    ///
    /// # Errors
    /// [`close`](Self::close) is called before that.
    pub(super) async fn wait_empty(&self) -> Result<(), Error> {
        loop {
            // Created before the set is looked at, so that a change in between is not missed.
            let changed = self.tags.changed();
            self.targets.wait_empty().await?;
            if self.is_empty() {
                return Ok(());
            }
            if self.is_closed.load(Ordering::SeqCst) {
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the tier was shut down before a pending invalidation was done",
                ));
            }
            if self.tags.len() > 0 {
                changed.await;
            }
        }
    }

    /// Ends the waits, because nothing will be removed any more.
    pub(super) fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
        self.targets.close();
        self.tags.close();
    }
}
