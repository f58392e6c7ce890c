//! The items that generated code may name, and nothing else. They are no part of the public
//! interface.

mod late;
mod mode;
mod probe;

pub use std::borrow::Cow;

pub use inventory;

pub use self::late::{KeepArgument, Kept, OwnArgument, keep, own};
pub use self::mode::{
    CallMode, CallNow, CallTimed, FunctionRef, MakeHandle, MakeInvalidation, call, type_of,
};
pub use self::probe::{
    ClonedErrors, DescribedErrors, Fallible, HeldAsItIs, HeldBehindPointer, NestedKind, NoErrors,
    NoTimeoutErrors, OtherErrors, Plain, PlainKind, Probe, RebuiltErrors, TimeoutErrors, Walked,
    Weighed, WrappedKind, memory_only, returns, shared,
};
pub use crate::call::late::LateCall;
pub use crate::call::timed::{Revalidation, TimedLookup, TimedMiss};
pub use crate::call::{CacheValue, CachedResult, MemoryLookup, Miss, ResultOf};
pub use crate::function::definition::Definition;
pub use crate::function::instantiation::Instantiation;
pub use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
pub use crate::function::registry::Registered;
pub use crate::function::slot::FunctionSlot;
pub use crate::function::times::{RefreshAhead, Times};
pub use crate::function::ttl::Ttl;
pub use crate::handle::Call;
pub use crate::invalidation::Invalidation;
pub use crate::key::{ArgumentList, Arguments, KeyArgument, Parts, Piece, Refused};
pub use crate::level::{Level, Levels};
pub use crate::outcome::NotShared;
pub use crate::runtime::builder::EnvTier;
pub use crate::{__may_time_out as may_time_out, __returns as returns};
