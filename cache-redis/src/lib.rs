//! The shared tier on Redis (7.0 or later) and Valkey.
//!
//! ```no_run
//! # use std::time::Duration;
//! use cache_core::{CacheRuntime, Memory};
//! use cache_redis::Redis;
//!
//! # async fn example() -> Result<(), cache_core::Error> {
//! CacheRuntime::builder()
//!     .l1(Memory::builder())
//!     .l2(Redis::new("redis://127.0.0.1:6379").namespace("shop").time_limit(Duration::from_millis(100)))
//!     .install()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every key begins with `{namespace:0}`, so that a function's records and their controls stay in one slot:
//!
//! | key | holds |
//! | --- | --- |
//! | `{shop:0}:users::get:1:42` | a record: function, version, arguments |
//! | `{shop:0}:users::get:1:42#lease` | the lease on it, while a load runs |
//! | `{shop:0}:users::get:1#epoch` | the function's epoch: a record of another is void |

mod breaker;
mod bus;
mod config;
mod current;
mod env;
mod epochs;
mod journal;
mod keys;
mod leases;
mod link;
mod pause;
mod script;
mod server;
mod tier;
mod waiters;

pub use crate::config::Redis;
