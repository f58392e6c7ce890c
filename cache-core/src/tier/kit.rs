//! The parts that tiers have in common, for the tiers of this project and for tiers of your own.
//!
//! A tier whose store has one user is a [private](super::Tier) tier; a store that several instances
//! use makes a [shared](super::SharedTier) one. The kit has the bookkeeping of both, so that a tier
//! is left with the operations of its store. Everything here is optional: a tier only has to keep
//! the contract of the trait.
//!
//! For a private tier:
//!
//! - [`PrivateTier`] over a [`RecordStore`]: a complete tier over four functions.
//! - [`PrivateState`], [`Epochs`], [`KeyLocks`]: its parts, for a store that needs more than four
//!   functions.
//! - [`LocalLedger`]: the ledger by which records with tags are judged.
//!
//! For a tier that talks to a server:
//!
//! - [`Session`]: the current connection, with a [`CircuitBreaker`] in front of it.
//! - [`Supervisor`]: the task that connects, by the steps of a [`Connector`], with a [`Backoff`]
//!   between attempts. It logs an [`Outage`] once.
//! - [`HeldLeases`], [`HeldGuards`]: what the instance holds at the server, and which of it is lost
//!   with a connection.
//! - [`LinkCounters`], [`silence`]: counters for the health of the tier, and the time after which a
//!   connection that does not respond is given up.
//!
//! For every tier:
//!
//! - [`PendingInvalidations`]: invalidations that the store does not know yet, in an
//!   [`InvalidationSet`] of bounded size.
//! - [`OwnedTarget`]: a target of an invalidation that owns its names.
//! - [`DurationRange`], [`SizeRange`], [`NameRule`], [`redact_url`]: checks of settings.
//! - [`timed`]: an operation with a time limit.
//! - [`AbortOnDrop`]: a task that ends with its owner.
//! - [`lock`]: a mutex that survives a panic.
//! - [`WakeOnDrop`]: the wake-up of waiters, for a caller that must release a lock before.

mod backoff;
mod breaker;
mod counters;
mod digest_set;
mod epochs;
mod guards;
mod invalidation_set;
mod key_locks;
mod leases;
mod local_ledger;
mod lock;
mod outage;
mod pending;
mod private_state;
mod private_tier;
mod session;
mod settings;
mod supervisor;
mod target;
mod task;
mod timed;
mod token;
mod wake;

pub use self::backoff::Backoff;
pub use self::breaker::CircuitBreaker;
pub use self::counters::LinkCounters;
pub use self::epochs::{EpochLog, Epochs, fresh_epoch};
pub use self::guards::{GuardHolder, HeldGuards, Placement};
pub use self::invalidation_set::InvalidationSet;
pub use self::key_locks::KeyLocks;
pub use self::leases::{
    HeldLeases, LONGEST_LOAD, LeaseHolder, ReleaseReason, ReturnedLease, StoreLease,
};
pub use self::local_ledger::{LedgerChange, LedgerContents, LocalLedger};
pub use self::lock::lock;
pub use self::outage::{Outage, ReportedFailures};
pub use self::pending::{Batch, PendingInvalidations};
pub use self::private_state::PrivateState;
pub use self::private_tier::{PrivateTier, RecordStore};
pub use self::session::Session;
pub use self::settings::{DurationRange, NameRule, SizeRange, redact_url};
pub use self::supervisor::{Connector, Retry, Supervisor, silence};
pub use self::target::OwnedTarget;
pub use self::task::AbortOnDrop;
pub use self::timed::{timed, timed_out};
pub use self::token::{MOST_OWNERS, owned_token, owner_of_token};
pub use self::wake::WakeOnDrop;
pub use crate::join::join_all;
