//! State and steps of the agreement between instances, in the terms of `cache-redis`.
//!
//! Instance 0 is the one that invalidates. The versions of the truth increase. A value is stale if
//! it lacks a version whose invalidation was acknowledged longer ago than the bound allows: at all
//! on the instance that invalidated, and [`bound`](Protocol::bound) ticks on the other one.

mod canonical;
mod config;
mod eviction;
mod instance;
mod invalidation;
mod possible;
pub mod scenarios;
mod state;
mod steps;
mod transition;

pub use self::config::{Guards, Protocol, Target};
pub use self::state::State;
pub use self::steps::{ControlKey, Step, Wrong};
