//! The shared tier on memcached: records under leases, invalidations that other instances hear of within a bound.
//!
//! ```no_run
//! use cache_core::{CacheRuntime, Memory};
//! use cache_memcached::Memcached;
//!
//! # async fn example() -> Result<(), cache_core::Error> {
//! CacheRuntime::builder()
//!     .l1(Memory::builder())
//!     .l2(Memcached::new("memcached://127.0.0.1:11211").namespace("shop"))
//!     .install()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! For several instances where memcached is what there is; Redis tells of invalidations sooner, and can have replicas. It is
//! *shared* and fenced: after an invalidation no late fill is stored, and other instances no longer answer with the old value once
//! [`staleness_bound`](Memcached::staleness_bound) has passed. What waits to be sent while the server is away is lost with its
//! process, and the server's data with the server. A hit is one round trip, a miss six, an invalidation three.
//!
//! Needs memcached 1.6, for its meta commands, that numbers its items: one that was started with `-C` is not used. One second of it may pass at once, so that items are kept a second or two longer
//! than records live; the record itself says when it is dead.
//!
//! # How it works
//!
//! - A lease is the CAS number of what stands under a key: where nothing does, of a placeholder. An invalidation deletes it, so
//!   that a fill from before finds another number, or nothing.
//! - memcached tells nobody of anything, so each invalidation is written into a log, a counter and an item each, and every
//!   instance asks for the counter four times within the bound. What of the log is not there any more counts as everything.
//! - A link is a handful of connections to one process of the server, which is told by a random number in its memory. When one of
//!   them is lost all are, and with them all leases.
//!
//! `config` is what users write; `tier` the operations, as `commands` on one connection; `link` the connections, which `supervisor`
//! keeps; `leases` and `guards` what this instance holds; `item` and `keys` what stands in the server.

mod commands;
mod config;
mod guards;
mod item;
mod keys;
mod leases;
mod link;
mod supervisor;
mod tier;

pub use config::Memcached;
