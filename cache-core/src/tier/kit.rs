//! The parts that tiers have in common, for the tiers of this project and for tiers of your own.
//!
//! A tier whose store has one user is a [private](super::Tier) tier; a store that several instances
//! use makes a [shared](super::SharedTier) one. The kit has the bookkeeping of both, so that a tier
//! is left with the operations of its store.
//!
//! For every tier:
//!
//! - [`DurationRange`], [`SizeRange`], [`NameRule`], [`redact_url`]: checks of settings.
//! - [`timed`]: an operation with a time limit.
//! - [`AbortOnDrop`]: a task that ends with its owner.
//! - [`lock`]: a mutex that survives a panic.

mod lock;
mod settings;
mod task;
mod timed;

pub use self::lock::lock;
pub use self::settings::{DurationRange, NameRule, SizeRange, redact_url};
pub use self::task::AbortOnDrop;
pub use self::timed::{timed, timed_out};
