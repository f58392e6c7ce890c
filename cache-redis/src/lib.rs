//! A shared tier on Redis (7.0 or later) and Valkey.
//!
//! ```no_run
//! # use std::time::Duration;
//! use cache_core::{CacheRuntime, Memory};
//! use cache_redis::Redis;
//!
//! # async fn example() -> Result<(), cache_core::Error> {
//! CacheRuntime::builder()
//!     .l1(Memory::builder())
//!     .l2(Redis::new("redis://127.0.0.1:6379")
//!         .namespace("shop")
//!         .time_limit(Duration::from_millis(100)))
//!     .install()
//!     .await?;
//! # Ok(())
//! # }
//! ```
//!
//! Every key begins with `{namespace:0}`, or with the index of its shard in place of 0, so that the
//! records of a shard and their control keys are in one slot of a cluster:
//!
//! | key | holds |
//! | --- | --- |
//! | `{shop:0}:users::get:1:42` | a record: function, version, arguments |
//! | `{shop:0}:users::get:1:42#lease` | the lease on it, while a load runs |
//! | `{shop:0}:users::get:1:42#waits` | the leases that its holder waits for, to detect deadlocks |
//! | `{shop:0}:users::get:1:42#guards` | the write guards that keep all instances from storing it |
//! | `{shop:0}:users::get:1#epoch` | the epoch of the function |
//! | `{shop:0}:#history` | the history of the data set, the server it was begun on, and the number of shards unless it is 1 |
//! | `{shop:0}:#sequence` | the number of the last message |
//! | `{shop:0}:#ledger`, `{shop:0}:#ledger:old` | the last invalidations of tags, and expiries |
//! | `{shop:0}:#stream:orders` | a stream of the application; see [`Redis::streams`] |
//! | `{shop:0}:#functions`, `{shop:0}:#shapes` | what tools show of functions and value types, if an instance [observes](Redis) |
//! | `{shop:0}:#instances`, `{shop:0}:#instance:shop-1-7` | which instances do so, and the state of one |
//! | `{shop:0}:#heartbeat` | a constant, written each second to prove that writes work |
//!
//! A record of another epoch or another history is invalid.
//!
//! Instances announce invalidations on the sharded channel `{shop:0}:#channel:0`, where the last
//! number is the database. The permissions that a user of the server needs are listed at [`Redis`].

mod access;
mod authentication;
mod barrier;
mod batches;
mod bus;
mod commands;
mod config;
mod connect;
mod credentials;
mod drivers;
mod env;
mod epochs;
mod errors;
mod flush;
#[cfg(feature = "inspect")]
pub mod inspect;
mod journal;
mod keys;
mod layout;
mod leases;
mod ledger;
mod loading;
mod locator;
mod maintenance;
mod matching;
mod message;
mod mirror;
mod mistakes;
mod number;
#[cfg(feature = "inspect")]
mod observe;
mod other_layouts;
mod permissions;
mod renewal;
mod replicas;
mod server;
mod session;
mod sizes;
mod streams;
mod supervisor;
mod tags;
mod tier;
mod topology;
mod transport;
mod waiters;

pub use crate::config::Redis;
pub use crate::credentials::Credentials;
pub use crate::streams::Streams;
