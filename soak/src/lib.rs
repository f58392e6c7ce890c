//! Shows the guarantees of the cache on real servers under faults.
//!
//! Instances are processes of their own ([`instance`], held by [`process`]). What they read and invalidate, and what the
//! [`database`] knows, are events of one [`history`], on one clock; the [`checker`] judges it when all is over. Meanwhile
//! [`faults`] are done to the [`servers`], the network and the instances. After each there is a [`quiet`] time, in which the
//! cache must work.

#![expect(
    clippy::exhaustive_enums,
    reason = "it is used by its own program and tests alone"
)]

pub mod checker;
pub mod clock;
pub mod counts;
pub mod database;
pub mod faults;
pub mod filler;
pub mod history;
pub mod instance;
pub mod process;
pub mod quiet;
pub mod run;
pub mod servers;
