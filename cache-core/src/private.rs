//! What generated code may name, and nothing else. It is no part of the public interface.

mod mode;
mod probe;

pub use inventory;

pub use self::mode::{CallMode, CallNow, FunctionRef, MakeHandle, MakeInvalidation, call, type_of};
pub use self::probe::{
    ClonedErrors, DescribedErrors, Fallible, HeldAsItIs, HeldBehindPointer, NestedKind, NoErrors,
    OtherErrors, Plain, PlainKind, Probe, RebuiltErrors, Walked, Weighed, WrappedKind, memory_only,
    returns, shared,
};
pub use crate::__returns as returns;
pub use crate::builder::EnvTier;
pub use crate::call::{CacheValue, CachedResult, MemoryLookup, Miss, ResultOf};
pub use crate::definition::Declaration;
pub use crate::handle::Call;
pub use crate::invalidation::Invalidation;
pub use crate::key::{ArgumentList, Arguments, KeyArgument, Parts, Piece, Refused};
pub use crate::level::Level;
pub use crate::outcome::NotShared;
pub use crate::policy::{CoherencePolicy, Consistency, SingleFlight, Ttl, WhenIsolated};
pub use crate::runtime::Registered;
pub use crate::slot::{FunctionSlot, Instantiation};
