//! The agreement between instances as a model, of which every state is searched.
//!
//! The model has some instances, a server with a replica, and a clock of a few ticks. Each step is
//! one event at one place: a script runs on the server, a message is read, a connection breaks, a
//! tick passes. Every order of steps is tried. When a call returns a value, the value is compared
//! with the invalidations that were acknowledged before.
//!
//! In some searches values become stale, are returned while a load in the background replaces them
//! or in place of a failed load, and failed loads leave a back-off in the place of their lease. A
//! stale value is compared with the invalidations that were acknowledged before it is returned.
//!
//! Each guard of the protocol can be removed. Then the search has to find a stale value; otherwise
//! the model does not show that the guard is needed.
//!
//! [`protocol`] holds the state and the steps, in the terms of `cache-redis`. [`search`] tries
//! them. [`rings`] is a model of its own: loads that wait for each other across instances. So is
//! [`layouts`]: instances that are set to different numbers of shards. [`ledger`] is the model, and
//! the specification, of how tags are invalidated and values are expired.

pub mod layouts;
pub mod ledger;
pub mod protocol;
pub mod rings;
pub mod search;
