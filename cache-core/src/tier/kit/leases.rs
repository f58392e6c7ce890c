//! The leases that this instance holds at a store.
//!
//! They are renewed while their loads run, released when the loads are dropped, and lost with the
//! connection: a server that took the place of another may still have them, and is not trusted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::lock::lock;
use crate::tier::{BackOff, LeaseHeld};

/// The longest time that a load may take and still store its value. A longer one is considered
/// stuck, and other instances no longer wait for it. A lease without waiters has this life,
/// so a load that crashed leaves a small key for so long.
pub const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

/// A lease, as the commands of a store name it.
pub trait StoreLease: Clone + Send + 'static {
    /// Returns `true` if the lease expires at the store while its load runs, unless it is renewed.
    fn is_renewed(&self) -> bool;

    /// Returns `true` if the lease must be released at the store when its load is dropped, because
    /// other callers wait for it.
    fn is_released(&self) -> bool;
}

/// The leases of one connection, by their tokens. It has one entry for each load in progress.
#[derive(Debug)]
pub struct HeldLeases<L> {
    /// Held for a few instructions only, never across an `.await`.
    state: Mutex<State<L>>,
    /// Notified when leases are to be released.
    returned: Notify,
}

#[derive(Debug)]
struct State<L> {
    /// The number of the connection that the leases are on.
    connection: Option<u64>,
    held: HashMap<u64, Held<L>>,
    returned: Vec<ReturnedLease<L>>,
}

#[derive(Debug)]
struct Held<L> {
    lease: L,
    holders: usize,
    since: Instant,
}

/// A lease that is no longer held, and is to be released at the store.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReturnedLease<L> {
    /// The token of the lease.
    pub token: u64,
    /// The lease.
    pub lease: L,
    /// Why it is released.
    pub reason: ReleaseReason,
}

/// Why a lease is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "these are all the reasons that a store acts on"
)]
pub enum ReleaseReason {
    /// Nothing is to be stored. A waiter loads.
    NotFilled,
    /// The load failed. Waiters on other instances do not wait for another one. A store that keeps
    /// the back-off has it in place of the lease.
    LoadFailed(Option<BackOff>),
}

/// Holds a lease. The last holder of a lease returns it when dropped.
#[derive(Debug)]
pub struct LeaseHolder<L: StoreLease> {
    leases: Arc<HeldLeases<L>>,
    token: u64,
    reason: ReleaseReason,
}

impl<L> Default for HeldLeases<L> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                connection: None,
                held: HashMap::new(),
                returned: Vec::new(),
            }),
            returned: Notify::new(),
        }
    }
}

impl<L: StoreLease> HeldLeases<L> {
    /// Notes that there is another connection. The leases of the previous one are lost.
    pub fn connected(&self, connection: u64) {
        self.begin(Some(connection));
    }

    /// Notes that there is no connection. The leases of the previous one are lost.
    pub fn disconnected(&self) {
        self.begin(None);
    }

    /// Holds a lease that was granted on the connection with this number. Several holders may share
    /// one lease. Returns `None` if that connection is not the current one.
    #[must_use]
    pub fn hold(self: &Arc<Self>, token: u64, lease: L, connection: u64) -> Option<LeaseHolder<L>> {
        let mut state = lock(&self.state);
        if state.connection != Some(connection) {
            return None;
        }
        let held = state.held.entry(token).or_insert_with(|| Held {
            lease,
            holders: 0,
            since: Instant::now(),
        });
        held.holders += 1;
        Some(LeaseHolder {
            leases: Arc::clone(self),
            token,
            reason: ReleaseReason::NotFilled,
        })
    }

    /// Returns `true` if the lease is held on the connection with this number.
    #[must_use]
    pub fn holds(&self, token: u64, connection: u64) -> bool {
        let state = lock(&self.state);
        state.connection == Some(connection) && state.held.contains_key(&token)
    }

    /// Returns the lease if it is held on the connection with this number.
    #[must_use]
    pub fn get(&self, token: u64, connection: u64) -> Option<L> {
        self.find(token, connection, L::clone)
    }

    /// Returns what `of` says of the lease, if it is held on the connection with this number. `of`
    /// runs under a lock.
    #[must_use]
    pub fn find<T>(&self, token: u64, connection: u64, of: impl FnOnce(&L) -> T) -> Option<T> {
        let state = lock(&self.state);
        let held = state.held.get(&token);
        held.filter(|_| state.connection == Some(connection))
            .map(|held| of(&held.lease))
    }

    /// Notes that the store no longer has the lease, or never granted it: it is not returned when
    /// it is dropped.
    pub fn end(&self, token: u64) {
        // Dropped outside the lock.
        let held = lock(&self.state).held.remove(&token);
        drop(held);
    }

    /// Returns the leases that are to be renewed, with their tokens. The lease of a load that is
    /// considered stuck is not among them.
    #[must_use]
    pub fn to_renew(&self) -> Vec<(u64, L)> {
        let state = lock(&self.state);
        let renewed = state
            .held
            .iter()
            .filter(|(_, held)| held.lease.is_renewed() && held.since.elapsed() < LONGEST_LOAD);
        renewed
            .map(|(token, held)| (*token, held.lease.clone()))
            .collect()
    }

    /// Waits for leases that are to be released at the store, and returns them. One task may wait.
    ///
    /// # Cancel safety
    /// Cancel safe: leases that were not returned yet are returned by the next call.
    pub async fn returned(&self) -> Vec<ReturnedLease<L>> {
        loop {
            let notified = self.returned.notified();
            let returned = self.take_returned();
            if !returned.is_empty() {
                return returned;
            }
            notified.await;
        }
    }

    /// Returns the leases that are to be released at the store now.
    #[must_use]
    pub fn take_returned(&self) -> Vec<ReturnedLease<L>> {
        std::mem::take(&mut lock(&self.state).returned)
    }

    fn begin(&self, connection: Option<u64>) {
        let mut state = lock(&self.state);
        state.connection = connection;
        let held = std::mem::take(&mut state.held);
        let returned = std::mem::take(&mut state.returned);
        drop(state);
        drop((held, returned));
    }
}

impl<L: StoreLease + Sync> LeaseHeld for LeaseHolder<L> {
    fn load_failed(&mut self, back_off: Option<BackOff>) {
        self.reason = ReleaseReason::LoadFailed(back_off);
    }
}

impl<L: StoreLease> Drop for LeaseHolder<L> {
    fn drop(&mut self) {
        let mut state = lock(&self.leases.state);
        let Some(held) = state.held.get_mut(&self.token) else {
            return;
        };
        held.holders -= 1;
        if held.holders == 0
            && let Some(Held { lease, .. }) = state.held.remove(&self.token)
            && lease.is_released()
        {
            state.returned.push(ReturnedLease {
                token: self.token,
                lease,
                reason: self.reason,
            });
            drop(state);
            self.leases.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An exclusive or a shared lease.
    #[derive(Clone, Debug, PartialEq, Eq)]
    struct TestLease {
        is_exclusive: bool,
    }

    const EXCLUSIVE: TestLease = TestLease { is_exclusive: true };
    const SHARED: TestLease = TestLease {
        is_exclusive: false,
    };

    impl StoreLease for TestLease {
        fn is_renewed(&self) -> bool {
            self.is_exclusive
        }

        fn is_released(&self) -> bool {
            self.is_exclusive
        }
    }

    fn connected() -> Arc<HeldLeases<TestLease>> {
        let leases = Arc::new(HeldLeases::default());
        leases.connected(1);
        leases
    }

    fn returned(token: u64, reason: ReleaseReason) -> ReturnedLease<TestLease> {
        ReturnedLease {
            token,
            lease: EXCLUSIVE,
            reason,
        }
    }

    #[test]
    fn lease_is_returned_by_its_last_holder_unless_it_was_used() {
        let leases = connected();
        let first = leases.hold(1, EXCLUSIVE, 1).unwrap();
        let shared = [(); 2].map(|()| leases.hold(2, SHARED, 1).unwrap());
        let used = leases.hold(3, EXCLUSIVE, 1).unwrap();
        assert_eq!(leases.to_renew().len(), 2);
        leases.end(3);
        drop(used);
        drop(shared);
        assert!(leases.holds(1, 1) && !leases.holds(2, 1) && !leases.holds(3, 1));
        assert!(leases.take_returned().is_empty());
        drop(first);
        assert_eq!(
            leases.take_returned(),
            [returned(1, ReleaseReason::NotFilled)]
        );
        let back_off = BackOff {
            failures: 1,
            lasts: Duration::from_secs(1),
        };
        for back_off in [None, Some(back_off)] {
            let mut failed = leases.hold(4, EXCLUSIVE, 1).unwrap();
            failed.load_failed(back_off);
            drop(failed);
            let reason = ReleaseReason::LoadFailed(back_off);
            assert_eq!(leases.take_returned(), [returned(4, reason)]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn lease_of_a_stuck_load_is_not_renewed() {
        let leases = connected();
        let holder = leases.hold(1, EXCLUSIVE, 1).unwrap();
        tokio::time::advance(LONGEST_LOAD - Duration::from_secs(1)).await;
        assert_eq!(leases.to_renew(), [(1, EXCLUSIVE)]);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(leases.to_renew(), []);
        drop(holder);
    }

    #[test]
    fn lease_does_not_outlive_its_connection() {
        let leases = connected();
        let old = leases.hold(1, EXCLUSIVE, 1).unwrap();
        assert_eq!(leases.get(1, 1), Some(EXCLUSIVE));
        leases.connected(2);
        assert!(!leases.holds(1, 1) && !leases.holds(1, 2));
        assert_eq!(leases.get(1, 1), None);
        assert!(
            leases.hold(2, EXCLUSIVE, 1).is_none(),
            "its reply came after the connection was lost"
        );
        drop(old);
        assert!(leases.take_returned().is_empty());
        leases.disconnected();
        assert!(leases.hold(3, EXCLUSIVE, 2).is_none());
    }
}
