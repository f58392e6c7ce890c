//! Tags: names that values carry, and by which they are invalidated or expired together.

use std::fmt;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::key::{ArgumentList, Arguments, Piece, render_tag};

/// The most tags that one value can have. A record has 8 bytes for each, and each look-up compares
/// all of them.
pub(crate) const MOST_TAGS: usize = 64;

/// The seed of the digest. It is part of the meaning of records, so it never changes.
const SEED: u64 = 0x7461_6773;

/// A name that values carry, such as `user:42`, by which all of them are invalidated or expired
/// together, whichever functions they belong to.
///
/// A tag is its text: two tags with the same text are one tag, in every process and every version.
/// Below the interface tags travel as digests of 64 bits, so two different texts are one tag with a
/// probability of one in 2^64. That costs a load and no wrong answer.
///
/// ```
/// use cache_core::Tag;
///
/// assert_eq!(Tag::new("user:42"), Tag::new(format!("user:{}", 42)));
/// assert_ne!(Tag::new("user:42"), Tag::new("user:43"));
/// ```
///
/// A text that contains input from outside can be the text of another tag. The macro `tag!` and the
/// option `tags` escape their arguments, so that no argument makes another tag.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tag(u64);

impl Tag {
    /// Makes the tag with this text.
    #[must_use]
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(xxh3_64_with_seed(text.as_ref().as_bytes(), SEED))
    }

    /// Makes the tag of a template whose arguments are those of a key.
    pub(crate) fn of_key(arguments: &[u8], template: &[Piece]) -> Self {
        Self::new(render_tag(Some(arguments), template))
    }

    /// Makes the tag of a template and its arguments. If serde refuses an argument, all of them are
    /// unknown, and the tag is one for all such arguments.
    pub(crate) fn of_arguments(template: &[Piece], arguments: impl ArgumentList) -> Self {
        let encoded = Arguments::encode(arguments, 0);
        let bytes = encoded.as_ref().ok().map(Arguments::as_bytes);
        Self::new(render_tag(bytes, template))
    }

    /// Returns the digest of the text: XXH3-64 with a constant seed.
    #[must_use]
    pub fn digest(self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({:016x})", self.0)
    }
}

/// The digests of the tags of one value, each once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TagSet(Vec<u64>);

impl TagSet {
    pub(crate) fn add(&mut self, digest: u64) {
        if !self.0.contains(&digest) && self.0.len() <= MOST_TAGS {
            self.0.push(digest);
        }
    }

    pub(crate) fn add_all(&mut self, tags: impl IntoIterator<Item = Tag>) {
        tags.into_iter().for_each(|tag| self.add(tag.digest()));
    }

    pub(crate) fn add_set(&mut self, others: &Self) {
        others.0.iter().for_each(|digest| self.add(*digest));
    }

    /// Returns `true` if there are more than a value can have. Those above are not remembered.
    pub(crate) fn is_too_large(&self) -> bool {
        self.0.len() > MOST_TAGS
    }

    pub(crate) fn digests(&self) -> &[u64] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn set_has_each_tag_once_and_notices_the_first_that_is_too_many() {
        let mut set = TagSet::default();
        for _ in 0..2 {
            set.add_all((0..MOST_TAGS as u64).map(Tag));
            assert!(!set.is_too_large());
        }
        assert_eq!(set.digests().len(), MOST_TAGS);
        set.add_all([Tag(1 << 40)]);
        assert!(set.is_too_large());
    }

    /// Records of earlier builds carry these digests.
    #[test]
    fn digest_of_a_text_never_changes() {
        let digests = ["", "user:42"].map(|text| Tag::new(text).digest());
        assert_eq!(
            digests,
            [5_204_792_675_607_888_690, 7_653_655_409_952_309_176]
        );
    }
}
