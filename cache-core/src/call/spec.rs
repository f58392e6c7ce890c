//! The result of a function, as far as a call depends on it.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::codec::ValueType;
use crate::function::ttl::LONGEST_TTL;
use crate::outcome::{NotShared, Outcome, ShareError};
use crate::tag::Tag;

/// A value that memory can hold and return to many callers.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be cached",
    label = "a cached value must be `Clone + Send + Sync + 'static`",
    note = "return `Arc<{Self}>`, which is cheap to clone, or derive `Clone` for `{Self}`"
)]
pub trait CacheValue: Clone + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Clone + Send + Sync + 'static> CacheValue for V {}

/// How a call treats its value and its error.
pub struct ResultSpec<V, S> {
    pub(crate) value_type: ValueType<V>,
    /// Returns `true` if a value is kept. `None` keeps every value.
    pub(crate) keep_if: Option<fn(&V) -> bool>,
    /// Returns the ttl of a value. `None` uses the function's ttl for every value.
    pub(crate) ttl_from: Option<fn(&V) -> Duration>,
    /// Returns the tags of a value, in addition to those of its arguments.
    pub(crate) tags_of: Option<fn(&V) -> Vec<Tag>>,
    pub(crate) share: S,
}

impl<V: CacheValue> ResultSpec<V, NotShared> {
    /// Values that stay in memory, without an option.
    pub(crate) fn memory_only() -> Self {
        Self {
            value_type: ValueType::memory_only(),
            keep_if: None,
            ttl_from: None,
            tags_of: None,
            share: NotShared,
        }
    }
}

impl<V, S> ResultSpec<V, S> {
    /// Returns this spec without a way to share errors, for callers that no other one waits for.
    pub(crate) fn unshared(self) -> ResultSpec<V, NotShared> {
        ResultSpec {
            value_type: self.value_type,
            keep_if: self.keep_if,
            ttl_from: self.ttl_from,
            tags_of: self.tags_of,
            share: NotShared,
        }
    }

    /// Returns the ttl that the value itself has: at most the longest ttl of a function, and zero
    /// if the value is not kept.
    pub(crate) fn ttl_of(&self, value: &V) -> Option<Duration> {
        let ttl_from = self.ttl_from?;
        Some(ttl_from(value).min(LONGEST_TTL))
    }

    /// Returns the tags that the value itself has.
    pub(crate) fn tags_of(&self, value: &V) -> Vec<Tag> {
        self.tags_of
            .map(|tags_of| tags_of(value))
            .unwrap_or_default()
    }
}

impl<V, S: Copy> Clone for ResultSpec<V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V, S: Copy> Copy for ResultSpec<V, S> {}

impl<V, S> fmt::Debug for ResultSpec<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResultSpec")
    }
}

/// A result type, the value in it that is kept, and how.
///
/// Generated code requires this of a function's result and nothing else, so that an unsuitable type
/// is one compile error.
pub trait CachedResult: Copy + Send + Sync {
    /// The type that the function returns.
    type Result: Outcome<Self::Value>;
    /// The type of the value in it, which is kept.
    type Value: Send + Sync + 'static;
    /// How waiters get its errors.
    type Share: ShareError<<Self::Result as Outcome<Self::Value>>::Error>;

    /// Returns how a call treats the value.
    fn spec(self) -> ResultSpec<Self::Value, Self::Share>;
}

/// A result type `R`, of which a `V` is kept.
pub struct ResultOf<R, V, S> {
    spec: ResultSpec<V, S>,
    result: PhantomData<fn() -> R>,
}

impl<R, V, S> ResultOf<R, V, S> {
    #[inline]
    pub(crate) const fn new(spec: ResultSpec<V, S>) -> Self {
        Self {
            spec,
            result: PhantomData,
        }
    }

    /// Keeps only the values for which `keep_if` returns `true`.
    #[must_use]
    #[inline]
    pub const fn keep_if(mut self, keep_if: fn(&V) -> bool) -> Self {
        self.spec.keep_if = Some(keep_if);
        self
    }

    /// Takes the ttl of each value from the value itself.
    #[must_use]
    #[inline]
    pub const fn ttl_from(mut self, ttl_from: fn(&V) -> Duration) -> Self {
        self.spec.ttl_from = Some(ttl_from);
        self
    }

    /// Takes tags of each value from the value itself.
    #[must_use]
    #[inline]
    pub const fn tags_of(mut self, tags_of: fn(&V) -> Vec<Tag>) -> Self {
        self.spec.tags_of = Some(tags_of);
        self
    }

    /// Wraps the way to share errors.
    #[inline]
    pub(crate) fn map_share<T>(self, wrap: impl FnOnce(S) -> T) -> ResultOf<R, V, T> {
        let ResultSpec {
            value_type,
            keep_if,
            ttl_from,
            tags_of,
            share,
        } = self.spec;
        ResultOf::new(ResultSpec {
            value_type,
            keep_if,
            ttl_from,
            tags_of,
            share: wrap(share),
        })
    }
}

impl<R, V, S: Copy> Clone for ResultOf<R, V, S> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R, V, S: Copy> Copy for ResultOf<R, V, S> {}

impl<R, V, S> fmt::Debug for ResultOf<R, V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ResultOf")
    }
}

impl<R, V, S> CachedResult for ResultOf<R, V, S>
where
    R: Outcome<V>,
    V: Send + Sync + 'static,
    S: ShareError<R::Error>,
{
    type Result = R;
    type Value = V;
    type Share = S;

    #[inline]
    fn spec(self) -> ResultSpec<V, S> {
        self.spec
    }
}

/// The function that makes it. Generated code passes its `__returns` itself and not what it
/// returns: a function takes no space, so a miss does not carry the pointers of the value type.
impl<F, C> CachedResult for F
where
    F: Fn() -> C + Copy + Send + Sync,
    C: CachedResult,
{
    type Result = C::Result;
    type Value = C::Value;
    type Share = C::Share;

    #[inline]
    fn spec(self) -> ResultSpec<Self::Value, Self::Share> {
        self().spec()
    }
}
