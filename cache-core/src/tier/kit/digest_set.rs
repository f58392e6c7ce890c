//! A set of digests that becomes coarser instead of growing without bound.

use std::collections::HashMap;

/// The greatest number of digests in one set.
const MAX_DIGESTS: usize = 1 << 16;

/// A set of digests, each with the number under which it was last added.
///
/// Numbers must not decrease from one addition to the next. The set may become coarser, never
/// incomplete: if it has too many digests, all digests take their place. A digest that is added
/// again after a number is not removed under that number.
#[derive(Debug, Default)]
pub(super) struct DigestSet {
    /// The number under which all digests were added.
    all: Option<u64>,
    digests: HashMap<u64, u64>,
}

impl DigestSet {
    /// Adds digests under a number.
    pub(super) fn insert(&mut self, digests: &[u64], number: u64) {
        self.digests
            .extend(digests.iter().map(|digest| (*digest, number)));
        if self.digests.len() > MAX_DIGESTS {
            self.digests = HashMap::new();
            self.all = Some(number);
        }
    }

    /// Removes digests, except those that were added after `number`.
    pub(super) fn remove(&mut self, digests: &[u64], number: u64) {
        for digest in digests {
            if self
                .digests
                .get(digest)
                .is_some_and(|added| *added <= number)
            {
                self.digests.remove(digest);
            }
        }
    }

    /// Removes everything, except what was added after `number`.
    pub(super) fn remove_all(&mut self, number: u64) {
        self.all = self.all.filter(|added| *added > number);
        self.digests.retain(|_, added| *added > number);
    }

    /// Returns `true` if the set has this digest, or all digests.
    pub(super) fn covers(&self, digest: u64) -> bool {
        self.all.is_some() || (!self.digests.is_empty() && self.digests.contains_key(&digest))
    }

    /// Returns `true` if the set has all digests.
    pub(super) fn has_all(&self) -> bool {
        self.all.is_some()
    }

    /// Returns the digests; none, if the set has all of them.
    pub(super) fn digests(&self) -> Vec<u64> {
        match self.all {
            Some(_) => Vec::new(),
            None => self.digests.keys().copied().collect(),
        }
    }

    /// Returns the number of digests, and 1 if the set has all of them.
    pub(super) fn len(&self) -> usize {
        match self.all {
            Some(_) => 1,
            None => self.digests.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_that_was_added_again_is_not_removed_under_its_first_number() {
        let mut set = DigestSet::default();
        set.insert(&[7, 8], 1);
        set.insert(&[7], 2);
        set.remove(&[7, 8], 1);
        assert!(set.covers(7) && !set.covers(8));
        set.remove_all(1);
        assert_eq!(set.digests(), [7]);
        set.remove_all(2);
        assert_eq!(set.len(), 0);
    }

    #[test]
    fn too_many_digests_become_all_digests_until_these_are_removed() {
        let mut set = DigestSet::default();
        let many: Vec<u64> = (0..MAX_DIGESTS as u64).collect();
        set.insert(&many, 1);
        assert!(!set.has_all() && !set.covers(u64::MAX));
        set.insert(&[u64::MAX], 2);
        assert!(set.has_all() && set.covers(0) && set.covers(u64::MAX - 1));
        assert_eq!((set.len(), set.digests().len()), (1, 0));
        set.insert(&[3], 3);
        set.remove(&[3], 3);
        set.remove_all(1);
        assert!(set.covers(3), "all digests were added under 2");
        set.remove_all(2);
        assert!(!set.covers(3) && !set.has_all());
    }
}
