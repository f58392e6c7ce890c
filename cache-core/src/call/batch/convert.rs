//! Conversions between the results of a batch and those of a function of one id.

use crate::call::{CachedResult, ResultSpec};
use crate::load::{Failure, Held, Loaded};
use crate::outcome::{LoadOutcome, Outcome, ShareError, View};

/// A batch: how its results are made from those of a function of one id.
///
/// `C` is the result for one id, of which a `C::Value` is kept, and `R` is the result for all ids.
/// The values in both are the same type, but only the compiler of the calling crate sees that:
/// there, `C` is the opaque result of `__returns`. So values and errors go through `C::Result`,
/// which holds either.
pub(crate) struct Converter<C: CachedResult> {
    pub(crate) spec: ResultSpec<C::Value, C::Share>,
}

impl<C: CachedResult> Clone for Converter<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C: CachedResult> Copy for Converter<C> {}

impl<C: CachedResult> Converter<C> {
    /// Returns a value in memory as the value of a batch.
    pub(crate) fn give<V>(&self, held: Held) -> Option<V>
    where
        C::Result: Outcome<V>,
    {
        let value = self.spec.value_type.take(held)?;
        let result = <C::Result as Outcome<C::Value>>::value(value);
        <C::Result as Outcome<V>>::into_value(result).ok()
    }

    /// Returns a value that a body has returned as memory keeps it, and whether it does.
    pub(super) fn load<V>(&self, value: V) -> Option<Loaded>
    where
        C::Result: Outcome<V>,
    {
        let result = <C::Result as Outcome<V>>::value(value);
        let value = <C::Result as Outcome<C::Value>>::into_value(result).ok()?;
        let spec = &self.spec;
        Some(Loaded {
            is_kept: spec.keep_if.is_none_or(|keep_if| keep_if(&value)),
            ttl: spec.ttl_of(&value),
            tags: spec.tags_of(&value),
            held: (spec.value_type.hold)(value),
        })
    }

    /// Returns the error of an outcome that is no value, if this call can return it.
    pub(super) fn error<V, E>(&self, outcome: &LoadOutcome) -> Option<E>
    where
        C::Result: Outcome<V, Error = E>,
    {
        let share = self.spec.share;
        let error = match outcome {
            LoadOutcome::Failed(shared) => share.receive(&**shared)?,
            LoadOutcome::TimedOut(timeout) => share.timed_out(timeout.clone())?,
            LoadOutcome::Value(_) | LoadOutcome::Absent | LoadOutcome::Stale(_) => return None,
        };
        let result = <C::Result as Outcome<C::Value>>::failed(error)?;
        <C::Result as Outcome<V>>::into_error(result)
    }

    /// The answer to the waiters of a body that failed.
    pub(super) fn failure(&self, result: &C::Result) -> Failure {
        let share = self.spec.share;
        match <C::Result as Outcome<C::Value>>::view(result) {
            View::Failed(error) => Failure {
                may_serve_stale: share.may_serve_stale(error),
                shared: share.share(error),
                kept: share.keep(error),
                ..Failure::default()
            },
            View::Value(_) | View::Absent => Failure::default(),
        }
    }
}
