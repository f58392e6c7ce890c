//! The disk tier: what this instance has cached outlives its process.
//!
//! ```no_run
//! use cache_core::{CacheRuntime, Memory};
//! use cache_disk::Disk;
//!
//! # async fn example() -> Result<(), cache_core::Error> {
//! CacheRuntime::builder()
//!     .l1(Memory::builder())
//!     .l3(Disk::new("/var/cache/shop").max_bytes(4 << 30))
//!     .install()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! For values that are costly to load and too many for memory, on an instance that keeps its disk. It is *private*: no other
//! instance reads it. Alone, or under memory, what it has from before a restart counts: nobody else invalidates it, and an
//! invalidation here is on the disk when it has returned [`Acked`](cache_core::tier::Receipt::Acked). Beside a tier that others share it counts only as long as its process
//! lives, since nobody knows what they invalidated in between.
//!
//! A read costs a disk's, and a change of threads. A fill is given to the system and not waited for by a sync: when the machine
//! dies the last ones may be lost, when the process is killed none that had returned. An invalidation that could not be written in
//! time is [`Queued`](cache_core::tier::Receipt::Queued): what it names is not read meanwhile, a mark beside the store says that
//! it is owed, and a process that comes after one that ended so drops everything.
//!
//! A disk that is full, or fails, costs misses: the store is closed, and opened again when it can be. What cannot be read when it
//! is opened is dropped, with a warning.
//!
//! # How it works
//!
//! `config` is what users write; `tier` the operations, done by the `threads` on the `store`: its records in `generations`, what
//! makes them valid in `controls`. The `keeper` is a thread that does invalidations, many at a time and synced once, sweeps, and
//! opens the store again; `mark` is what it leaves to the next process.

mod config;
mod controls;
mod generations;
mod keeper;
mod mark;
mod store;
mod threads;
mod tier;

pub use crate::config::Disk;
