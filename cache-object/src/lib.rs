//! The tier on object storage: any service that opendal speaks to, under a prefix that one instance uses at a time.
//!
//! ```no_run
//! use cache_core::{CacheRuntime, Memory};
//! use cache_object::Objects;
//! use cache_object::opendal::{Operator, services::Fs};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let operator = Operator::new(Fs::default().root("/mnt/bucket"))?;
//! CacheRuntime::builder()
//!     .l1(Memory::builder())
//!     .l4(Objects::new(operator).prefix("shop/instance-1"))
//!     .install()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! For large values that are very costly to load. Files need nothing more; for S3 and the others add opendal to your dependencies,
//! in the version that is here, with the feature of the service (`services-s3` and an HTTP transport), and give its operator the layers you want. It is
//! *private*: an object storage tells nobody of invalidations. Alone, or under memory, what it has from before a restart counts
//! if the instance ended in order, with [`CacheRuntime::shutdown`](cache_core::CacheRuntime::shutdown); beside a tier that others
//! share it counts only as long as its process lives.
//!
//! After a process that was killed, nothing that it stored counts: nobody knows what it had invalidated, and what it was writing.
//! Its successor waits until it has said nothing for thirty seconds, calls go on without the tier meanwhile, and then it begins
//! with nothing. So does an instance that lost its prefix to another and takes it back.
//!
//! A hit reads one object, a fill writes one, an invalidation of a key deletes one, and that of a function or of everything needs
//! no storage. A record says itself when it is dead. What is dead or void is [swept](Objects::sweep_every), four times a day, where the
//! service can list; elsewhere give it a rule that removes what is older than your longest ttl.
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
