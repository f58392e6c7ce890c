//! The tier on object storage: any service that opendal speaks to, under a prefix that one instance uses at a time.
//!
//! - Leases and guards are in memory, as nobody else fills; a write and a removal of one key go one after the other.
//! - What became of a write that failed is not known, and it may still land: its whole function is void from then on, under
//!   another epoch, so that it counts for nothing whenever it does.
//! - Who uses a prefix says so every five seconds; another that comes waits until nobody has for fifteen.
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
