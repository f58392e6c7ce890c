//! The agreement between instances as a model, searched to the end.
//!
//! A handful of instances, a server with a replica, a clock of a few ticks. Each step is one thing that happens at one place:
//! a script runs on the server, a message is read, a connection breaks, a tick passes. Every order of steps is tried. Where a
//! call is answered, the answer is compared with what had been invalidated, and acknowledged, by then.
//!
//! Each guard of the protocol can be taken out; then the search must find an answer that is too old, or the model is blind.
//!
//! What stands for what: [`protocol`] holds the state and the steps, in the words of `cache-redis`; [`search`] tries them.
//!
//! [`rings`] is a model of its own: loads that wait for each other over instances.

pub mod protocol;
pub mod rings;
pub mod search;
