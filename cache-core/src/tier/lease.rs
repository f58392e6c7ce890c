//! Leases and guards: who may fill a key, and who keeps others from it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use super::{RecordKey, Refusal, Stamp};
use crate::level::Level;

/// The right to fill one key. Dropping it releases it.
#[non_exhaustive]
pub struct Lease {
    /// Known to the store and to the holder of the lease.
    pub token: u64,
    /// The stamp that the record must carry.
    pub stamp: Stamp,
    held: Option<Box<dyn LeaseHeld>>,
}

/// What a store keeps for a [`Lease`]. Dropping it releases the lease.
pub trait LeaseHeld: Send + Sync {
    /// Notes that the load failed, before the lease is released. A store that can tell its waiters
    /// ends their [`Wakeup`] with [`Woken::LoadFailed`].
    fn load_failed(&mut self) {}
}

impl LeaseHeld for () {}

impl Lease {
    /// A lease without anything to release.
    #[must_use]
    pub fn new(token: u64, stamp: Stamp) -> Self {
        Self {
            token,
            stamp,
            held: None,
        }
    }

    /// Attaches what is dropped with the lease and releases it.
    #[must_use]
    pub fn held_by(mut self, held: impl LeaseHeld + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// Releases the lease after its load failed.
    pub fn load_failed(mut self) {
        self.note_failure();
    }

    fn note_failure(&mut self) {
        if let Some(held) = &mut self.held {
            held.load_failed();
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A body that panics is a load that failed: waiters must not run it one after another.
        if std::thread::panicking() {
            self.note_failure();
        }
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("stamp", &self.stamp)
            .field("is_released_on_drop", &self.held.is_some())
            .finish_non_exhaustive()
    }
}

/// An exclusive lease under which a load of this process runs, as [`Tier::deadlock`](super::Tier::deadlock) is told of
/// it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// The level of the tier that gave it.
    pub level: Level,
    /// The key that it may fill.
    pub key: Arc<RecordKey>,
    /// The lease's token.
    pub token: u64,
}

impl HeldLease {
    /// Names a lease.
    #[must_use]
    pub fn new(level: Level, key: Arc<RecordKey>, token: u64) -> Self {
        Self { level, key, token }
    }
}

/// Whether a wait for a lease would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum Deadlock {
    /// The load that holds the lease does not wait for the caller.
    Absent,
    /// It does, through any number of instances. Of the callers in such a ring exactly one gets this answer.
    Present,
    /// The store cannot tell.
    Unknown,
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
pub enum LeaseResult {
    /// It was given.
    Granted(Lease),
    /// Another instance loads.
    Held(Wakeup),
    /// Nobody may fill the key now: load, and keep it out of the store; for [`Refusal::Guard`] out of memory as well.
    Refused(Refusal),
}

/// Why a [`Wakeup`] ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the reasons that a waiter acts on"
)]
pub enum Woken {
    /// The key changed, or the lease may have expired. The waiter may wait for the next holder.
    LookAgain,
    /// The load that was waited for ended without a record, or may have. The waiter does not wait
    /// for another load: callers of a key whose loads fail would be served one after another.
    LoadFailed,
}

/// Resolves when the key should be read again: it was filled or invalidated, the lease was released
/// or expired, or the channel that would say so is lost. Always resolves.
pub struct Wakeup(Pin<Box<dyn Future<Output = Woken> + Send>>);

impl Wakeup {
    /// Resolves with `future`, for a store that cannot tell why.
    #[must_use]
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::telling(async {
            future.await;
            Woken::LookAgain
        })
    }

    /// Resolves with `future`, which says why.
    #[must_use]
    pub fn telling(future: impl Future<Output = Woken> + Send + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Wakeup {
    type Output = Woken;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Woken> {
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
pub enum LeaseMode {
    /// A miss: one instance loads, the others wait.
    Exclusive,
    /// A miss of a function whose instances do not wait for each other: whoever else loads for the same reason may fill as
    /// well.
    Shared,
    /// A load whose value this store cannot keep: asks only whether the key [may be kept](Refusal::Guard) at all. The lease that is
    /// given fills nothing, and keeps nobody waiting.
    Probe,
    /// A refresh or a put: who loads already must not fill over it, and its lease is void from now on.
    Preempt,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_of_a_lease_says_whether_dropping_releases_it() {
        let lease = || {
            let stamp = Stamp {
                epoch: 1,
                history: 2,
            };
            Lease::new(3, stamp)
        };
        let (free, held) = (lease(), lease().held_by(()));
        assert!(format!("{free:?}").contains("is_released_on_drop: false"));
        assert!(format!("{held:?}").contains("is_released_on_drop: true"));
    }
}
