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
//! *private*: an object storage tells nobody of invalidations. Alone, or under memory, what it has from before a restart counts;
//! beside a tier that others share it counts only as long as its process lives.
//!
//! A hit reads one object, a fill writes one, an invalidation of a key deletes one and that of a function writes one. A record says
//! itself when it is dead; its object stays until it is written again, so give the service a rule that removes what is older than
//! your longest ttl.
//!
//! # How it works
//!
//! - Leases and guards are in memory, as nobody else fills; a write and a removal of one key go one after the other.
//! - What became of a write that failed is not known, and it may still land: its whole function is void from then on, under
//!   another epoch, so that it counts for nothing whenever it does.
//! - Who uses a prefix says so every five seconds; another that comes waits until nobody has for thirty. (A request that a
//!   dead process left behind, and that the service still carries out after that, is not guarded against.)
//!
//! `config` is what users write; `tier` the operations, `store` what they do to objects; `controls` what a valid record carries;
//! `owner` who uses the prefix.

mod config;
mod controls;
mod owner;
mod store;
mod tier;

pub use config::Objects;
/// The storage library; add it to your own dependencies for the services that you use, as its features.
pub use opendal;
