//! Four instances call one hot key: its value becomes stale, its source fails, its load never ends.
//!
//! [`run`] starts a server and the instances, and returns a [`Table`] of the answers that their
//! callers got, and of the promises that hold.

mod checks;
mod cluster;
mod functions;
mod instance;
mod measured;
mod phases;
mod source;
mod table;

pub use self::instance::run_instance;
pub use self::phases::{Length, Options, run};
pub use self::table::Table;
