//! The parts that tiers have in common, for the tiers of this project and for tiers of your own.
//!
//! A tier whose store has one user is a [private](super::Tier) tier; a store that several instances
//! use makes a [shared](super::SharedTier) one. The kit has the bookkeeping of both, so that a tier
//! is left with the operations of its store.
//!
//! For a private tier:
//!
//! - [`PrivateTier`] over a [`RecordStore`]: a complete tier over four functions.
//! - [`PrivateState`], [`Epochs`], [`KeyLocks`]: its parts, for a store that needs more than four
//!   functions.
//!
//! For every tier:
//!
//! - [`PendingInvalidations`]: invalidations that the store does not know yet.
//! - [`DurationRange`], [`SizeRange`], [`NameRule`], [`redact_url`]: checks of settings.
//! - [`timed`]: an operation with a time limit.
//! - [`AbortOnDrop`]: a task that ends with its owner.
//! - [`lock`]: a mutex that survives a panic.

mod epochs;
mod key_locks;
mod lock;
mod pending;
mod private_state;
mod private_tier;
mod settings;
mod task;
mod timed;

pub use self::epochs::{EpochLog, Epochs, fresh_epoch};
pub use self::key_locks::KeyLocks;
pub use self::lock::lock;
pub use self::pending::{Batch, PendingInvalidations};
pub use self::private_state::PrivateState;
pub use self::private_tier::{PrivateTier, RecordStore};
pub use self::settings::{DurationRange, NameRule, SizeRange, redact_url};
pub use self::task::AbortOnDrop;
pub use self::timed::{timed, timed_out};
