//! The second raise of a fence, after the lower tiers were invalidated.

/// Raises a fence when it is dropped.
pub(crate) struct FencedAfter<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for FencedAfter<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
