//! Flights: one load in progress, led by one caller and awaited by all others of its key.
//!
//! The leader runs the load on its own task, so the body may borrow. If the leader is dropped, all
//! waiters are woken, the first that polls becomes the leader, and the others wait for it. The lead
//! is not given to a chosen waiter: one that is kept without being polled, as in a branch of a
//! `select!`, would hold the key. If the load [fails](Leader::fail) with an error that cannot be
//! shared, or panics, the flight ends and all its waiters go on at once: passing the lead from one
//! to the next would make the last of them wait for every failed load before its own.
//!
//! Invariants:
//! 1. A flight in the table has a leader, or waiters of which the first that polls becomes the
//!    leader.
//! 2. No waker is registered while a flight has no leader: each waiter was woken since, or has not
//!    been polled yet.
//! 3. A waiter is in `waiters` from when it joins until it is answered, takes the lead, or is
//!    dropped. The last that is dropped removes a flight without a leader from the table.
//! 4. A flight whose load began before a fence is not joined after the fence was raised.
//!
//! Locks: a shard of the table may be held while a flight is locked, never the other way round.
//! Neither is held while a waker or the user's code runs.

mod deadlock;
mod join;
mod leader;
mod table;
mod view;
mod waiter;

pub(crate) use self::deadlock::{
    Detached, Entered, FlightId, HeldLeases, LoadScope, WaitEdge, blocked,
};
pub(crate) use self::join::Join;
pub(crate) use self::leader::Leader;
pub(crate) use self::table::Flights;
pub(crate) use self::view::FlightView;
pub(crate) use self::waiter::{WaitOutcome, Waiter};

#[cfg(all(test, not(schedules)))]
mod tests;

#[cfg(all(test, schedules))]
mod schedules;
