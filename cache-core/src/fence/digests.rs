//! Fences of tags, and of what was expired: each is known by a digest, and several digests may
//! share a fence.

use std::sync::{Arc, OnceLock};

use crate::sync::{AtomicU64, Ordering};

/// The places of the fences of a value's tags, which its entry keeps.
#[derive(Clone, Debug, Default)]
pub(crate) struct TagStripes(Option<Arc<[u32]>>);

impl TagStripes {
    /// Places of a value without tags: none.
    pub(crate) const NONE: &'static Self = &Self(None);

    /// Returns `true` if the value has no tags.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    #[inline]
    pub(crate) fn as_slice(&self) -> &[u32] {
        self.0.as_deref().unwrap_or_default()
    }

    /// Returns the bytes on the heap.
    pub(crate) fn size(&self) -> usize {
        size_of_val(self.as_slice())
    }

    /// Returns the places of both.
    pub(crate) fn and(&self, others: &Self) -> Self {
        if self.is_empty() {
            return others.clone();
        }
        let all = self.as_slice().iter().chain(others.as_slice()).copied();
        all.collect()
    }
}

impl FromIterator<u32> for TagStripes {
    fn from_iter<I: IntoIterator<Item = u32>>(stripes: I) -> Self {
        let stripes: Arc<[u32]> = stripes.into_iter().collect();
        Self((!stripes.is_empty()).then_some(stripes))
    }
}

/// Fences by digest. Digests that share one are raised together, which costs a miss and no wrong
/// answer.
#[derive(Debug)]
pub(super) struct DigestFences {
    /// Made when the first of them is needed, so that a runtime without tags has none.
    table: OnceLock<Box<[AtomicU64]>>,
    len: usize,
    /// The fence of all digests together.
    all: AtomicU64,
    /// The largest of all fences. A value from after it is compared with no other one.
    newest: AtomicU64,
}

impl DigestFences {
    /// Makes fences without a table. `len` is a power of two.
    pub(super) fn new(len: usize) -> Self {
        debug_assert!(len.is_power_of_two());
        Self {
            table: OnceLock::new(),
            len,
            all: AtomicU64::new(0),
            newest: AtomicU64::new(0),
        }
    }

    /// Makes the table, if there is none yet.
    pub(super) fn make(&self) -> &[AtomicU64] {
        self.table
            .get_or_init(|| (0..self.len).map(|_| AtomicU64::new(0)).collect())
    }

    /// Returns the place of a digest.
    #[inline]
    pub(super) fn stripe(&self, digest: u64) -> u32 {
        (digest as usize & (self.len - 1)) as u32
    }

    /// Returns `true` if no fence was raised after `start`.
    ///
    /// Acquire, here and below: a thread that sees that an invalidation has returned sees its
    /// fences.
    #[inline]
    pub(super) fn admits_all(&self, start: u64) -> bool {
        start >= self.newest.load(Ordering::Acquire)
    }

    /// Returns `true` if no fence at these places was raised after `start`.
    #[inline]
    pub(super) fn admits(&self, start: u64, stripes: &[u32]) -> bool {
        self.admits_all(start) || self.each_admits(start, stripes)
    }

    /// Not inlined: most values are from after the last invalidation.
    #[inline(never)]
    fn each_admits(&self, start: u64, stripes: &[u32]) -> bool {
        let is_before = |fence: &AtomicU64| start >= fence.load(Ordering::Acquire);
        let Some(table) = self.table.get() else {
            return is_before(&self.all);
        };
        is_before(&self.all)
            && stripes
                .iter()
                .all(|stripe| is_before(&table[*stripe as usize & (table.len() - 1)]))
    }

    /// Raises the fence of a digest, if there is a table. `next` makes the number.
    pub(super) fn raise_if_made(&self, digest: u64, next: impl FnOnce() -> u64) {
        if let Some(table) = self.table.get() {
            let number = next();
            // Max instead of store: if two threads raise one at the same time, the later number
            // must stay.
            table[self.stripe(digest) as usize].fetch_max(number, Ordering::AcqRel);
            self.newest.fetch_max(number, Ordering::AcqRel);
        }
    }

    /// Raises the fence of every digest.
    pub(super) fn raise_all(&self, number: u64) {
        self.all.fetch_max(number, Ordering::AcqRel);
        self.newest.fetch_max(number, Ordering::AcqRel);
    }
}
