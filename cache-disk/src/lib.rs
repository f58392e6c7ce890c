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
//! invalidation here is on the disk when it returns. Beside a tier that others share it counts only as long as its process
//! lives, since nobody knows what they invalidated in between.
//!
//! A read costs a disk's, and a change of threads. A fill is given to the system and not waited for by a sync: when the machine
//! dies the last ones may be lost, when the process is killed none that had returned.

mod config;
mod controls;
mod generations;
mod store;
mod tier;

pub use crate::config::Disk;
