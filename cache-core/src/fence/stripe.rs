//! The part of a key's digest that an entry in memory knows.

/// The stripe of a key: the low bits of its digest, which an entry in memory knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stripe(u16);

impl Stripe {
    /// Returns the stripe of a key, by its digest.
    #[inline]
    pub(crate) fn of(digest: u64) -> Self {
        Self(digest as u16)
    }

    /// Returns the stripe with a number.
    #[inline]
    pub(crate) fn numbered(number: u16) -> Self {
        Self(number)
    }

    /// Returns the number of the stripe.
    #[inline]
    pub(crate) fn number(self) -> u16 {
        self.0
    }
}
