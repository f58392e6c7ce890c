//! The uses of the key of a call: a look-up, a handle, or an invalidation.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;

use crate::cached_function::CachedFunction;
use crate::call::timed::{TimedLookup, look_up_timed};
use crate::call::{CachedResult, MemoryLookup, look_up};
use crate::function::instantiation::Instantiation;
use crate::function::slot::{FunctionSlot, Origin};
use crate::handle::{Call, Handle};
use crate::invalidation::Invalidation;
use crate::key::{ArgumentList, Arguments};

/// A function and, if it is generic, which of its instances.
#[derive(Clone, Copy, Debug)]
pub struct FunctionRef {
    slot: &'static FunctionSlot,
    instance: Option<Instantiation>,
}

impl FunctionRef {
    /// A function that is not generic.
    #[must_use]
    #[inline]
    pub const fn new(slot: &'static FunctionSlot) -> Self {
        Self {
            slot,
            instance: None,
        }
    }

    /// The instance that the type of `types` distinguishes from others.
    #[must_use]
    #[inline]
    pub fn instance<T>(slot: &'static FunctionSlot, _types: &T) -> Self {
        Self {
            slot,
            instance: Some(Instantiation::of::<T>()),
        }
    }

    /// Invalidates every key of the function.
    pub fn invalidate_all(self) -> Invalidation {
        Invalidation::of_all(self.origin())
    }

    /// Returns the function in the runtime that a call here uses.
    pub(super) fn bound(self) -> Arc<CachedFunction> {
        self.slot.bound(self.instance).into_owned()
    }

    pub(super) fn origin(self) -> Origin {
        Origin::declared(self.slot, self.instance)
    }
}

/// Returns the type of a value.
pub fn type_of<T: ?Sized>(_: &T) -> PhantomData<T> {
    PhantomData
}

/// The use of a call once its key is known.
pub trait CallMode<T: CachedResult> {
    /// The result of that.
    type Output;

    /// Does it.
    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> Self::Output;
}

/// Begins the call: looks in memory.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct CallNow;

impl<T: CachedResult> CallMode<T> for CallNow {
    type Output = MemoryLookup<T>;

    #[inline]
    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> MemoryLookup<T> {
        look_up(&at.slot.for_call(at.instance), returned, arguments)
    }
}

/// Begins the call of a function with times besides its ttl: looks in memory.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct CallTimed;

impl<T: CachedResult> CallMode<T> for CallTimed {
    type Output = TimedLookup<T>;

    #[inline]
    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> TimedLookup<T> {
        look_up_timed(&at.slot.for_call(at.instance), returned, arguments, true)
    }
}

/// Makes the handle of the call, without beginning it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct MakeHandle;

impl<T: CachedResult> CallMode<T> for MakeHandle {
    type Output = Handle<T::Value>;

    fn take(self, at: FunctionRef, returned: T, arguments: impl ArgumentList) -> Handle<T::Value> {
        Handle::new(at.origin(), returned.spec().unshared(), arguments)
    }
}

/// Makes the invalidation of the call's key. Nothing of the call but its key is in it.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "a name for a choice")]
pub struct MakeInvalidation;

impl<T: CachedResult> CallMode<T> for MakeInvalidation {
    type Output = Invalidation;

    fn take(self, at: FunctionRef, _: T, arguments: impl ArgumentList) -> Invalidation {
        Invalidation::of_key(at.origin(), Arguments::unbound(arguments))
    }
}

/// Makes the handle of a call with its body, which has not begun.
pub fn call<V, F>(handle: Handle<V>, body: F) -> Call<F::Output, F>
where
    V: Send + Sync + 'static,
    F: Future,
{
    handle.into_call(body)
}
