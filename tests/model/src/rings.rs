//! Loads that wait for each other across instances, as a model of which every state is searched.
//!
//! The body of a key may call another key. A call leads the flight of its key in its instance, or
//! waits for it. A leader takes the lease of its key in the store, or waits for the load of another
//! instance. The store keeps the waits as edges from a held lease to an awaited one, and tells the
//! caller whose wait closes a ring. That caller continues with a load of its own. Terms and steps
//! are those of `flight/deadlock.rs` and `load/waits.rs` in `cache-core`, and of the script
//! `deadlock.lua` in `cache-redis`.
//!
//! A body that already runs further out in the same task calls nothing. Otherwise a recursion would
//! not end.
//!
//! The search finds the states from which no call ever ends. Every order of steps ends all calls if
//! each step leads to a new state, and if each state without a step has no call left.

mod config;
pub mod scenarios;
mod search;
mod state;
mod steps;
mod waits;

pub use self::config::{RingGuards, Rings, Wrong};
pub use self::search::{Outcome, search};
pub use self::state::State;
pub use self::steps::Step;
