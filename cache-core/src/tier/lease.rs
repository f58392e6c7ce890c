//! Leases, which allow a caller to fill a key, and guards, which keep every caller from it.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use super::key::RecordKey;
use super::ledger::Mark;
use crate::level::Level;
use crate::record::Stamp;
use crate::stats::Refusal;

/// The right to fill one key. It is released when it is dropped.
#[non_exhaustive]
pub struct Lease {
    /// The number of the lease, which the store and its holder know.
    pub token: u64,
    /// The stamp that the record must carry to be valid.
    pub stamp: Stamp,
    /// The number of loads of the key that failed in a row before this lease was granted, as far as
    /// the store knows: those that [left a back-off](Self::load_failed), while the store remembers
    /// it. 0 from a store that keeps no back-off.
    pub failures: u32,
    /// The ledger when the lease was granted, for a key of a marked function in a tier with a
    /// [ledger](super::Tier::ledger). Without it no record with marks is stored under the lease.
    pub mark: Option<Mark>,
    held: Option<Box<dyn LeaseHeld>>,
}

/// The part of a [`Lease`] that belongs to its tier. Dropping it MUST release the lease in the
/// store.
pub trait LeaseHeld: Send + Sync {
    /// Notes that the load failed, before the lease is released. A store that can notify its
    /// waiters ends their [`Wakeup`] with [`Woken::LoadFailed`]. A store that keeps
    /// [back-offs](BackOff) keeps this one if the lease is still valid. Default: does nothing.
    fn load_failed(&mut self, back_off: Option<BackOff>) {
        let _ = back_off;
    }
}

/// The time after a failed load in which no load of the key begins for a caller that has a value,
/// stale or soon to expire.
///
/// A tier keeps it if it can; without it, each instance backs off by itself. A tier that keeps it
/// MUST follow these rules. A shared tier keeps it in its store, for all instances.
///
/// - While the back-off lasts, the tier answers [`LeaseMode::Refresh`] with
///   [`LeaseResult::BackedOff`], unless the key has another lease or another record: those are
///   answered first. Every other mode is granted as if there were no back-off.
/// - The tier remembers the failures for [`REMEMBERED`](Self::REMEMBERED) after the back-off has
///   passed, and every granted lease carries them as [`Lease::failures`]. So the loads of all
///   instances are counted together, and the next back-off can be longer.
/// - A fill, an invalidation of the key, its function or everything, and a guard end the back-off
///   and reset the count: what failed is not the load of the new state.
/// - A back-off never lasts longer than [`LONGEST`](Self::LONGEST), whatever was asked for and
///   whatever the store's clock does.
///
/// The tier may forget a back-off at any time, as a store that evicts does: that costs one load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "as a store keeps it")]
pub struct BackOff {
    /// The number of loads of the key that failed in a row, at least 1.
    pub failures: u32,
    /// The time from now on in which no load begins.
    pub lasts: Duration,
}

impl BackOff {
    /// The longest back-off. A longer one is kept as this one.
    pub const LONGEST: Duration = Duration::from_secs(60);

    /// How long after a back-off the number of failures is remembered.
    pub const REMEMBERED: Duration = Duration::from_secs(120);
}

impl LeaseHeld for () {}

impl Lease {
    /// Creates a lease without anything to release.
    #[must_use]
    pub fn new(token: u64, stamp: Stamp) -> Self {
        Self {
            token,
            stamp,
            failures: 0,
            mark: None,
            held: None,
        }
    }

    /// Sets the ledger when the lease was granted.
    #[must_use]
    pub fn with_mark(mut self, mark: Mark) -> Self {
        self.mark = Some(mark);
        self
    }

    /// Sets the number of loads of the key that failed in a row before.
    #[must_use]
    pub fn after_failures(mut self, failures: u32) -> Self {
        self.failures = failures;
        self
    }

    /// Attaches the part that releases the lease when it is dropped.
    #[must_use]
    pub fn held_by(mut self, held: impl LeaseHeld + 'static) -> Self {
        self.held = Some(Box::new(held));
        self
    }

    /// Releases the lease after its load failed. `back_off` is for a function whose values may be
    /// returned stale; its failures are those [of this lease](Self::failures) and this one. Without
    /// it, the tier need not keep the failures from before either.
    pub fn load_failed(mut self, back_off: Option<BackOff>) {
        self.release_after_failure(back_off);
    }

    /// Releases the lease. If the thread panics, the drop that follows must not note the failure
    /// once more: it knows no back-off, and would replace this one.
    fn release_after_failure(&mut self, back_off: Option<BackOff>) {
        if let Some(mut held) = self.held.take() {
            held.load_failed(back_off);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        // A panic of the body is a failed load. Without this, the waiters would run the body one
        // after another.
        if std::thread::panicking() {
            self.release_after_failure(None);
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

/// An exclusive lease under which a load of this process runs, as an argument of
/// [`SharedTier::deadlock`](super::SharedTier::deadlock).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLease {
    /// The level of the tier that granted the lease.
    pub level: Level,
    /// The key that may be filled under the lease.
    pub key: Arc<RecordKey>,
    /// The token of the lease.
    pub token: u64,
}

impl HeldLease {
    /// Creates the description of a lease.
    #[must_use]
    pub fn new(level: Level, key: Arc<RecordKey>, token: u64) -> Self {
        Self { level, key, token }
    }
}

/// The answer to the question whether a wait for a lease would never end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum Deadlock {
    /// The load that holds the lease does not wait for the caller.
    Absent,
    /// The load that holds the lease waits for the caller, directly or through other loads and
    /// instances. Exactly one of the callers in such a ring gets this answer.
    Present,
    /// The store cannot tell.
    Unknown,
}

/// Keeps every caller from filling a key until it is dropped; see
/// [`Tier::guard`](super::Tier::guard).
pub struct Guard(Box<dyn GuardHeld>);

/// The part of a [`Guard`] that belongs to its tier. Dropping it MUST end the guard, and invalidate
/// the key unless [`was_invalidated`](Self::was_invalidated) was called.
pub trait GuardHeld: Send + Sync {
    /// Notes that the key was invalidated since the guard was placed, so that dropping the guard
    /// need not invalidate it.
    fn was_invalidated(&mut self);

    /// Returns `true` if the store is known to have the guard at this moment. Default: `true`, for
    /// a guard that is kept in this process.
    fn is_placed(&self) -> bool {
        true
    }
}

impl GuardHeld for () {
    fn was_invalidated(&mut self) {}
}

impl Guard {
    /// Creates a guard from the part that belongs to the tier.
    #[must_use]
    pub fn new(held: impl GuardHeld + 'static) -> Self {
        Self(Box::new(held))
    }

    /// Returns `true` if the store is known to have the guard at this moment. A guard that could
    /// not be placed still invalidates its key when it is dropped.
    #[must_use]
    pub fn is_placed(&self) -> bool {
        self.0.is_placed()
    }

    /// Ends the guard, after its key was invalidated.
    pub fn end(mut self) {
        self.0.was_invalidated();
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Guard")
    }
}

/// The answer to a request for a lease.
#[derive(Debug)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum LeaseResult {
    /// The lease was granted.
    Granted(Lease),
    /// Another caller holds the lease and loads. The wake-up says when to read the key again.
    Held(Wakeup),
    /// A load of the key failed, and no load begins for a caller that has a value before this time
    /// has passed: the key [is backed off](BackOff). The answer to [`LeaseMode::Refresh`] only.
    BackedOff(Duration),
    /// No caller may fill the key now. The caller loads and does not store the value; after
    /// [`Refusal::Guard`] not in memory either.
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
    /// The load ended without a record, or may have. The waiter does not wait for another load:
    /// callers of a key whose loads fail would be served one after another.
    LoadFailed,
}

/// A future that resolves when the key should be read again: it was filled or invalidated, the
/// lease was released or expired, or the channel that would announce this is lost. It always
/// resolves.
pub struct Wakeup(Pin<Box<dyn Future<Output = Woken> + Send>>);

impl Wakeup {
    /// Creates a wake-up that resolves with `future`, for a store that does not know the reason.
    #[must_use]
    pub fn new(future: impl Future<Output = ()> + Send + 'static) -> Self {
        Self::telling(async {
            future.await;
            Woken::LookAgain
        })
    }

    /// Creates a wake-up that resolves with `future`, which returns the reason.
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

/// Why a lease is requested.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LeaseMode {
    /// A miss: one caller loads, and the others wait.
    Exclusive,
    /// A miss of a function whose instances do not wait for each other. Several callers may hold
    /// such a lease and fill under it.
    Shared,
    /// A load whose value this store cannot hold. Only asks whether the key is
    /// [guarded](Refusal::Guard). Nothing can be filled under the granted lease, and no caller
    /// waits for it.
    Probe,
    /// A load of a caller that has a value, stale or soon to expire. As
    /// [`Exclusive`](Self::Exclusive), but not granted while the key [is backed
    /// off](LeaseResult::BackedOff). The record that the key has MUST stay readable while the lease
    /// is held, and after the load has failed: other callers return it as stale.
    Refresh,
    /// A refresh or a put. The leases of loads in progress are void from now on, because their
    /// values are older.
    Preempt,
}

impl LeaseMode {
    /// Returns `true` if the caller can use what another caller loads. Such a request is answered
    /// with [`LeaseResult::Held`] while another caller holds an exclusive lease, and if the key was
    /// filled since the caller has read it.
    #[must_use]
    pub fn waits(self) -> bool {
        matches!(self, Self::Exclusive | Self::Refresh)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Writes down the failures that are noted, and the release.
    struct Noting(Arc<Mutex<Vec<Option<BackOff>>>>);

    impl LeaseHeld for Noting {
        fn load_failed(&mut self, back_off: Option<BackOff>) {
            self.0.lock().expect("no panic").push(back_off);
        }
    }

    #[test]
    fn debug_of_a_lease_shows_whether_it_is_released_on_drop() {
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

    #[test]
    fn back_off_that_is_noted_during_a_panic_is_kept() {
        let noted = Arc::new(Mutex::new(Vec::new()));
        let lease = || {
            let stamp = Stamp {
                epoch: 1,
                history: 2,
            };
            Lease::new(3, stamp).held_by(Noting(Arc::clone(&noted)))
        };
        let back_off = BackOff {
            failures: 1,
            lasts: Duration::from_secs(1),
        };
        /// Notes the failure of a load whose body panics, as the owner of a lease does.
        struct OnPanic(Option<(Lease, BackOff)>);
        impl Drop for OnPanic {
            fn drop(&mut self) {
                if let Some((lease, back_off)) = self.0.take() {
                    lease.load_failed(Some(back_off));
                }
            }
        }
        let owner = OnPanic(Some((lease(), back_off)));
        let unowned = lease();
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _leases = (unowned, owner);
            std::panic::resume_unwind(Box::new("a body"));
        }));
        assert!(panicked.is_err());
        let noted = noted.lock().expect("no panic");
        assert_eq!(*noted, [None, Some(back_off)]);
    }
}
