//! State and steps of the agreement between instances, in the terms of `cache-redis`.
//!
//! Instance 0 is the one that invalidates. The versions of the truth increase. A value is stale if
//! it lacks a version whose invalidation was acknowledged longer ago than the bound allows: at all
//! on the instance that invalidated, and [`bound`](Protocol::bound) ticks on the other one.
//!
//! With [`Windows`], the time of each copy of a value passes at any moment, and loads fail or
//! continue in the background. Calls get values past their ttl, which must not be stale in the
//! sense above when a call returns them.

mod call;
mod canonical;
mod config;
mod eviction;
mod instance;
mod invalidation;
mod lease;
mod load;
mod loading;
mod possible;
pub mod scenarios;
mod search;
mod stale;
mod state;
mod steps;
mod transition;
mod validity;

pub use self::config::{Guards, Protocol, Target, Windows};
pub use self::state::State;
pub use self::steps::{ControlKey, CopyOf, LoadStep, Mode, Slot, Step, Wrong};
