//! Building blocks for tiers.
//!
//! Everything here is optional: a [`Tier`](super::Tier) only has to keep the contract of the trait.
//! The tiers of this project are built from these parts, and a tier of your own can use them too.
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
