//! Tags in generated code.

use crate::invalidation::Invalidation;
use crate::key::{ArgumentList, Piece};
use crate::tag::Tag;

/// Makes the tag of a template and its arguments, in their order or by their places.
#[must_use]
pub fn tag(template: &[Piece], arguments: impl ArgumentList) -> Tag {
    Tag::of_arguments(template, arguments)
}

/// Collects the tags of a value, which `tags_of` returns. They may borrow from the value.
pub fn collect_tags<'v, V: ?Sized, T>(value: &'v V, tags_of: impl FnOnce(&'v V) -> T) -> Vec<Tag>
where
    T: IntoIterator<Item = Tag>,
{
    tags_of(value).into_iter().collect()
}

/// Makes the invalidation of tags, in the runtime that a call would use where it is first polled.
pub fn invalidate_tags(tags: impl IntoIterator<Item = Tag>) -> Invalidation {
    Invalidation::of_tags(None, tags)
}
