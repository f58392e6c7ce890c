//! The disk tier: cached values of this instance outlive its process. [`Disk`] says when to choose
//! it, what it promises and what it costs.
//!
//! # How it works
//!
//! `config` has the settings. `tier` implements the operations, which the pool in `threads` runs on
//! the `store`: its records are in `generations`, `epochs` and `ledger` say which of them are
//! valid. `open` opens the store and discards one that is damaged. `maintenance` is a thread that
//! does pending invalidations, many at a time with one sync, sweeps expired records, and opens the
//! store again after a failure. `dirty_marker` tells the next process whether invalidations were
//! pending. `running` has all of this from the start of the tier to its shutdown.

mod config;
mod dirty_marker;
mod epochs;
mod generations;
mod ledger;
mod maintenance;
mod open;
mod running;
mod store;
mod threads;
mod tier;

pub use crate::config::Disk;
