//! Leases and guards: who may fill a key, and who keeps others from it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use super::{Refusal, Stamp};

/// The right to fill one key. Given back when it is dropped.
#[non_exhaustive]
pub struct Lease {
    /// Known to the store and to who holds the lease.
    pub token: u64,
    /// What the record is to carry.
    pub stamp: Stamp,
    held: Option<Box<dyn Send + Sync>>,
}

impl Lease {
    /// A lease.
    #[must_use]
    pub fn new(token: u64, stamp: Stamp) -> Self {
        Self {
            token,
            stamp,
            held: None,
        }
    }

    /// With what is dropped when the lease is, and gives it back.
    #[must_use]
    pub fn held_by(mut self, held: impl Send + Sync + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("stamp", &self.stamp)
            .field("is_given_back", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

/// Keeps others from filling a key; see [`Tier::guard`](super::Tier::guard).
pub struct Guard(Box<dyn GuardHeld>);

/// What a store keeps for a [`Guard`]. Dropped, it ends the guard.
pub trait GuardHeld: Send + Sync {
    /// The key was invalidated since: dropping need not see to it.
    fn was_invalidated(&mut self);

    /// Whether the store is known to keep it at this moment.
    fn is_placed(&self) -> bool {
        true
    }
}

impl GuardHeld for () {
    fn was_invalidated(&mut self) {}
}

impl Guard {
    /// A guard that is held by `held`.
    #[must_use]
    pub fn new(held: impl GuardHeld + 'static) -> Self {
        Self(Box::new(held))
    }

    /// Whether the store is known to keep it at this moment. One that could not be told sees to it all the same that the key is invalidated in the end.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.0.is_placed()
    }

    /// Ends it, after its key was invalidated.
    pub fn end(mut self) {
        self.0.was_invalidated();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// What became of asking for a lease.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum Leased {
    /// It was given.
    Given(Lease),
    /// Another instance loads.
    Taken(Wakeup),
    /// Nobody may fill the key now: load, and keep it out of the store; for [`Refusal::Guard`] out of memory as well.
    Refused(Refusal),
}

/// Ends when it is worth to look again: the key was filled or invalidated, its lease given back or over, or the channel that
/// would say so is lost. Always ends.
pub struct Wakeup(Pin<Box<dyn Future<Output = ()> + Send>>);

impl Wakeup {
    /// Ends with `future`.
    #[must_use]
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Wakeup {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Wakeup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wakeup")
    }
}

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// A miss: one instance loads, the others wait.
    Only,
    /// A miss of a function whose instances do not wait for each other: whoever else loads for the same reason may fill as
    /// well.
    Share,
    /// A load whose value this store cannot keep: asks only whether the key [may be kept](Refusal::Guard) at all. The lease that is
    /// given fills nothing, and keeps nobody waiting.
    Look,
    /// A refresh or a put: who loads already must not fill over it, and its lease is void from now on.
    TakeOver,
}
