//! The shared tier on memcached: records that are filled under leases, and invalidations that other
//! instances apply within a staleness bound. [`Memcached`] says when to choose it, what it promises
//! and what it costs.
//!
//! # How it works
//!
//! - A lease is the CAS number of the item under a key. If there is no item, a placeholder is
//!   stored first. An invalidation deletes the item, so a fill whose load began before finds
//!   another CAS number, or no item, and stores nothing.
//! - memcached cannot notify its clients. Each invalidation is therefore written into a log, which
//!   consists of a counter and one item per message, and every instance reads the counter four
//!   times within the staleness bound. If a message is missing, everything is invalidated.
//! - A link is a few connections to one process of the server. The process is recognized by a
//!   random number in its memory. If one of the connections is lost, all of them are given up, and
//!   with them all leases.
//!
//! # Modules
//!
//! From top to bottom, each uses only those below it: `tier` has the operations of the tier,
//! `supervisor` makes and keeps the links, `maintenance` is the background work over a link,
//! `session` is the state that calls and the supervisor share, `connections` runs commands on the
//! connections of a link, `commands` has one file per command, and `item`, `keys` and
//! `error` say what the server stores and under which names. `config` is what users write.

mod commands;
mod config;
mod connections;
mod error;
mod item;
mod keys;
mod maintenance;
mod session;
mod supervisor;
mod tier;

pub use config::Memcached;
