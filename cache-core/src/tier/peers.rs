//! The way from a tier back to the runtime that uses it.

use std::sync::{Arc, OnceLock, Weak};

use super::contract::Tier;
use super::operation::Target;
use crate::fence::{Fences, Stripe};

/// Passes the invalidations of other instances, which arrive over a tier's channel, to the runtime
/// of this instance.
///
/// The tier MUST report messages in the order in which it received them, and MUST report a message
/// before it returns an answer that the store sent after that message.
#[derive(Clone, Debug)]
pub struct Peers {
    fences: Arc<Fences>,
    /// Set once, when the runtime is built.
    above: Arc<OnceLock<Vec<Weak<dyn Tier>>>>,
}

impl Peers {
    pub(crate) fn new(fences: Arc<Fences>) -> Self {
        Self {
            fences,
            above: Arc::default(),
        }
    }

    /// Sets the tiers above the one that reports to this.
    pub(crate) fn set_above(&self, above: Vec<Weak<dyn Tier>>) {
        // A second call has no effect; the runtime makes one.
        let _ = self.above.set(above);
    }

    /// Reports that a [queued](super::Receipt::Queued) invalidation has reached the store.
    ///
    /// The tiers above were invalidated when it was queued, but a call may since have copied up the
    /// record that it deletes. They are invalidated again. The tier MUST call this before it
    /// reports the invalidation as no longer [pending](Tier::is_pending).
    pub fn done_late(&self, target: Target<'_>) {
        for above in self.above.get().into_iter().flatten() {
            if let Some(above) = above.upgrade() {
                above.invalidate_later(target);
            }
        }
    }

    /// Creates a recipient that ignores every report, for a tier that is tested without a runtime.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Arc::new(Fences::new()))
    }

    /// Reports that another instance invalidated the key with this digest.
    pub fn invalidated_key(&self, digest: u64) {
        self.fences.raise(Stripe::of(digest));
    }

    /// Reports that another instance invalidated the function with this digest.
    pub fn invalidated_function(&self, digest: u64) {
        self.fences.raise_shared(Some(digest));
    }

    /// Reports that another instance invalidated everything, or that it is not known what was
    /// invalidated.
    pub fn invalidated_all(&self) {
        self.fences.raise_shared(None);
    }
}
