//! The shared tier on memcached: records under leases, invalidations that other instances hear of within a bound. When to choose
//! it, what it promises and what it costs: [`Memcached`].
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
