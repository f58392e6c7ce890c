//! The items that generated code may name, and nothing else. They are no part of the public
//! interface.

mod batch;
mod late;
mod mode;
mod probe;
mod rules;
mod tags;

pub use std::borrow::Cow;

pub use inventory;

pub use self::batch::{BatchItem, batch, batch_entry, batch_invalidation, batch_late};
pub use self::late::{KeepArgument, Kept, OwnArgument, keep, lend_all, own};
pub use self::mode::{
    CallMode, CallNow, CallTimed, FunctionRef, MakeHandle, MakeInvalidation, call, type_of,
};
pub use self::probe::{
    ClonedErrors, DescribedErrors, Fallible, HeldAsItIs, HeldBehindPointer, NestedKind, NoErrors,
    OtherErrors, Plain, PlainKind, Probe, RebuiltErrors, Walked, Weighed, WrappedKind, memory_only,
    returns, shared,
};
pub use self::rules::{
    CanTimeOut, HasError, HasKeptError, HasNone, JudgedErrors, KeptErrors, NoJudgedErrors,
    NoKeptErrors, NoTimeoutErrors, OptionalValues, RequiredValues, TimeoutErrors,
};
pub use self::tags::{collect_tags, invalidate_tags, tag};
pub use crate::call::batch::{BatchCall, BatchOf, BatchResult, SameValue};
pub use crate::call::late::{LateCall, LateLoading, LateResult};
pub use crate::call::timed::{Revalidation, TimedLookup, TimedMiss};
pub use crate::call::{CacheValue, CachedResult, MemoryLookup, Miss, ResultOf};
pub use crate::function::definition::Definition;
pub use crate::function::instantiation::Instantiation;
pub use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
pub use crate::function::registry::Registered;
pub use crate::function::slot::FunctionSlot;
pub use crate::function::tags::TagTemplates;
pub use crate::function::times::{RefreshAhead, Times};
pub use crate::function::ttl::Ttl;
pub use crate::handle::{BatchEntry, Call};
pub use crate::invalidation::Invalidation;
pub use crate::key::{ArgumentList, Arguments, KeyArgument, Parts, Piece, Refused};
pub use crate::level::{Level, Levels};
pub use crate::outcome::NotShared;
pub use crate::runtime::builder::EnvTier;
pub use crate::tag::Tag;
pub use crate::{__returns as returns, __rule as rule};
