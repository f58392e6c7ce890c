//! Shows the guarantees of the cache on real servers under faults.
//!
//! Instances are processes of their own ([`instance`], controlled through [`process`]). Their reads
//! and invalidations, and the commits and loads of the [`database`], are events of one [`history`]
//! on one clock. The [`checker`] judges it when the [`run`] has ended. During the run, [`faults`]
//! disturb the [`servers`], the network and the instances of the [`fleet`]. A [`quiet`] time
//! without faults follows each of them, in which the cache must work.
//!
//! [`windows`] is a second program: four instances call one hot key whose value becomes stale,
//! whose source fails, and whose load never ends. [`shards`] calls all shards of a cluster while
//! primaries fail, and [`growth`] counts what instances cost a server.

#![expect(
    clippy::exhaustive_enums,
    reason = "only the program and the tests of this package use it"
)]

pub mod address;
pub mod checker;
mod child;
pub mod clock;
pub mod counts;
pub mod database;
pub mod directory;
pub mod faults;
pub mod filler;
pub mod fleet;
pub mod growth;
pub mod history;
pub mod instance;
pub mod items;
pub mod process;
pub mod quiet;
pub mod replacements;
pub mod run;
pub mod servers;
pub mod shards;
pub mod windows;
