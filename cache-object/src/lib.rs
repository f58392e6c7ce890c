//! The tier on object storage: any service that opendal speaks to, under a prefix that one instance uses at a time. When to choose
//! it, what it promises and what it costs: [`Objects`].
//!
//! # How it works
//!
//! - Leases and guards are in memory, as nobody else fills; a write and a removal of one key go one after the other.
//! - Epochs and the history are in memory too, and written once: by an owner that leaves in order. An owner that finds nothing left
//!   by the one before begins a new history, so that no late request of anybody counts, and no invalidation is lost with a process.
//! - What became of a write that failed is not known, and it may still land: its whole function is void from then on, under
//!   another epoch, so that it counts for nothing whenever it does.
//! - An invalidation of a key that could not be done in time is tried again until it is, and the key is not read meanwhile. Where
//!   the instance ends before, the function is void. Where the prefix is another's, it waits until it is this instance's, and is
//!   lost with the process: the other instance was never told.
//! - Every operation has a limit: what a call has to spend, 15 s for a write, 5 s for all that no call waits for. After eight that
//!   were not answered in time, calls go on without the tier until something is. (Files on a mount that hangs keep a thread of the
//!   async runtime each: opendal cannot take them back.)
//! - Who uses a prefix says so every five seconds; another that comes waits until nobody has for thirty, or until it was left. Two
//!   that use it at once, as one may that was stopped for a while, have different histories, and waste each other's room alone.
//!
//! `config` is what users write; `tier` the operations, `shared` their steps, `store` what they do to objects and `object` what stands
//! in one; `controls` what a valid record carries, `owner` who uses the prefix; `payments` what is owed, `sweep` what is removed, and
//! `keeper` what runs beside it all; `breaker` keeps calls away from what does not answer.

mod breaker;
mod config;
mod controls;
#[cfg(test)]
mod faults;
mod keeper;
mod object;
mod owner;
mod payments;
mod shared;
mod store;
mod sweep;
#[cfg(test)]
mod tests;
mod tier;

pub use config::Objects;
/// The storage library; add it to your own dependencies for the services that you use, as its features.
pub use opendal;
