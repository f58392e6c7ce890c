//! The tier on object storage: any service that opendal supports, under a prefix that one instance
//! uses at a time. [`Objects`] says when to choose it, what it promises and what it costs.
//!
//! # How it works
//!
//! - Leases and guards are in memory, because no other instance fills. A write and a removal of one
//!   key exclude each other.
//! - Epochs and the history are in memory too. An owner that leaves in order writes them once. An
//!   owner that finds none begins a new history, so no late request of an earlier owner makes a
//!   record valid, and no invalidation is lost with a process.
//! - A write that failed may still land. Its whole function is voided by another epoch at once, so
//!   the record is not valid whenever it lands.
//! - The invalidation of a key that could not be done in time is repeated until it is, and the key
//!   is a miss until then. If the instance shuts down before, the function is voided. If another
//!   instance has the prefix, the invalidation stays pending until this instance has it again, and
//!   is lost with the process.
//! - Every operation has a time limit: the call's for an operation of a call, 15 s for a write, 5 s
//!   for background work. After eight timeouts in a row, calls continue without the tier until the
//!   storage responds. (Files on a mount that hangs block a thread of the async runtime each:
//!   opendal cannot interrupt them.)
//! - The owner of a prefix rewrites an object every five seconds. Another instance waits until the
//!   object was unchanged for thirty seconds, or the owner has left. If two instances use a prefix
//!   at once, because one of them was stopped for a while, they have different histories, and only
//!   waste each other's space.
//!
//! # Files
//!
//! `config` has the settings. `tier` implements the operations, `prefix` their steps, `store` what
//! they do to objects, and `object` is the format of one. `epochs` say which records are valid,
//! `owner` says which instance uses the prefix. `removals` does pending invalidations, `sweep`
//! deletes void records, and `maintenance` runs both in the background. `breaker` keeps calls away
//! from a storage that does not respond.

mod breaker;
mod config;
mod epochs;
#[cfg(test)]
mod faults;
mod maintenance;
mod object;
mod owner;
mod prefix;
mod removals;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod tier;

pub use config::Objects;
/// The storage library. Add it to your own dependencies for the services that you use, as its
/// features.
pub use opendal;
