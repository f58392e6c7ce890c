//! The parts that tiers have in common, for the tiers of this project and for tiers of your own.
//!
//! A tier whose store has one user is a [private](super::Tier) tier; a store that several instances
//! use makes a [shared](super::SharedTier) one. The kit has the bookkeeping of both, so that a tier
//! is left with the operations of its store. Everything here is optional: a tier only has to keep
//! the contract of the trait.
//!
//! A tier that talks to a server holds a [`Session`](session::Session) with the current connection,
//! and a [`Supervisor`](supervisor::Supervisor) that makes a new one when it is lost. What the tier
//! holds at the server is in [`HeldLeases`](leases::HeldLeases) and
//! [`HeldGuards`](guards::HeldGuards), which know which of it is lost with a connection.

pub mod backoff;
pub mod breaker;
pub mod counters;
pub mod guards;
pub mod leases;
pub mod session;
pub mod supervisor;
