//! The disk tier: what this instance has cached outlives its process. When to choose it, what it promises and what it costs:
//! [`Disk`].
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
