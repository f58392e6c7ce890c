//! The second raise of a fence, after the lower tiers were invalidated.

/// Raises a fence when it is dropped.
pub(crate) struct FencedAfter<F: Fn()>(pub(crate) F);

impl<F: Fn()> FencedAfter<F> {
    /// Drops this without raising the fence.
    pub(crate) fn disarm(self) {
        std::mem::forget(self);
    }
}

impl<F: Fn()> Drop for FencedAfter<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
