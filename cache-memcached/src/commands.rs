//! The commands of the tier on one connection. Each has a file: what it does, its arguments and its
//! reply.
//!
//! A command may take several round trips. Each of them is atomic at the server, and other clients
//! may do anything in between: a command that depends on what it has read writes on the condition
//! that the item still has the CAS number that was read.

pub(crate) mod check;
mod command;
pub(crate) mod fill;
pub(crate) mod granted;
pub(crate) mod guard;
pub(crate) mod identify;
pub(crate) mod invalidate;
mod items;
pub(crate) mod lease;
pub(crate) mod log;
pub(crate) mod ping;
pub(crate) mod publish;
pub(crate) mod read;
pub(crate) mod release;
pub(crate) mod renew;
mod stamp;

pub(crate) use self::command::Command;

#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
