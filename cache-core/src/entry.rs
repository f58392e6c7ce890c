//! Entries: typed values in memory, with what decides whether they are valid.

use std::any::Any;
use std::sync::Arc;

use crate::clock::Moment;
use crate::fence::Stripe;
use crate::record::Etag;

/// Bytes of an entry's own fields, and of the reference counts before its value.
const OVERHEAD: usize = size_of::<Entry>() + 2 * size_of::<usize>();

/// A value in memory, of any type.
///
/// A hit clones the entry out of the engine. The fields before the value are what the reader needs
/// to check it, so that the clone touches one reference count and nothing behind the pointer.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The number of the fences when the load of this value began.
    pub(crate) start: u64,
    /// When the value expires.
    pub(crate) expires: Moment,
    /// The bytes that count against a capacity in bytes: those of the key, the value and this
    /// header.
    pub(crate) weight: u32,
    /// The stripe of the key's fence in the lower 16 bits, and the kind of the entry above them.
    /// They share a word because each hit copies it.
    stripe_and_kind: u32,
    value: Held,
}

/// A value that answers every call while it is valid.
const PLAIN: u32 = 0;

/// A value that a strong call found: it is behind a [`StrongRead`].
const STRONG_READ: u32 = 1 << 16;

/// A value that was loaded while a lower tier was not reachable. It answers calls only while that
/// is so.
const ISOLATED_ONLY: u32 = 2 << 16;

/// A value that a strong call found.
struct StrongRead {
    /// The place of the tier and the etag of the record, by which the record is recognized without
    /// being read.
    record: Option<(usize, Etag)>,
    /// The number of the fences when the call was answered. Loads that began before it may have
    /// read an older value.
    answered: u64,
    value: Held,
}

/// A value behind a shared pointer, without its type. If a function returns `Arc<T>`, this is that
/// `Arc` itself.
pub(crate) type Held = Arc<dyn Any + Send + Sync>;

impl Entry {
    /// Makes an entry. `weight` is that of key and value; one of more than 4 GiB is taken as 4 GiB.
    pub(crate) fn new(
        value: Held,
        start: u64,
        stripe: Stripe,
        expires: Moment,
        weight: usize,
    ) -> Self {
        let weight = u32::try_from(weight.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        Self {
            start,
            expires,
            weight,
            stripe_and_kind: u32::from(stripe.number()) | PLAIN,
            value,
        }
    }

    /// Marks the value as one that a strong call found, which was answered at the fences' number
    /// `answered`.
    pub(crate) fn strong_read(mut self, record: Option<(usize, Etag)>, answered: u64) -> Self {
        self.value = Arc::new(StrongRead {
            record,
            answered,
            value: self.value,
        });
        self.stripe_and_kind |= STRONG_READ;
        self
    }

    /// Marks the value as one that answers calls only while the lower tiers are not reachable.
    pub(crate) fn isolated_only(mut self) -> Self {
        self.stripe_and_kind |= ISOLATED_ONLY;
        self
    }

    /// Returns `true` if `other` must not replace this entry, because its value may be older: its
    /// load began before the load of this value or, if a strong call found this value, before that
    /// call was answered.
    pub(crate) fn is_newer_than(&self, other: &Self, now: Moment) -> bool {
        self.known_from() > other.start && self.expires > now
    }

    /// Returns the number from which on no load reads an older value.
    pub(crate) fn known_from(&self) -> u64 {
        match self.value.downcast_ref::<StrongRead>() {
            Some(read) => read.answered,
            None => self.start,
        }
    }

    /// Returns the value, if it may answer a call. `is_isolated` says that the lower tiers are not
    /// reachable.
    #[inline]
    pub(crate) fn into_value(self, is_isolated: bool) -> Option<Held> {
        match self.stripe_and_kind & (STRONG_READ | ISOLATED_ONLY) {
            PLAIN => Some(self.value),
            STRONG_READ => Some(self.into_strong_read().1),
            _ => is_isolated.then_some(self.value),
        }
    }

    /// Returns the stripe of the key's fence.
    #[inline]
    pub(crate) fn stripe(&self) -> Stripe {
        Stripe::numbered(self.stripe_and_kind as u16)
    }

    /// Returns the place and etag of the record that a strong call read, if it is known, and the
    /// value.
    #[cold]
    pub(crate) fn into_strong_read(self) -> (Option<(usize, Etag)>, Held) {
        match self.value.downcast_ref::<StrongRead>() {
            Some(read) => (read.record, Arc::clone(&read.value)),
            None => (None, self.value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_of_an_entry_is_at_most_64_bytes() {
        const { assert!(OVERHEAD <= 64) };
    }
}
