//! The leases that this instance holds on its connection. They are renewed while a load runs,
//! released when it is dropped, and lost with the connection: a server that took the place of
//! another may still have them, and is not trusted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::LeaseHeld;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest time that a load may take and still store its value. A longer one is considered
/// stuck, and other instances no longer wait for it. A shared lease, for which nobody waits, has
/// this life, so a crashed load leaves a small key for so long.
pub(crate) const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

/// Has one entry for each load in progress.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    state: Mutex<State>,
    /// Notified when leases are to be released.
    returned: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the connection that they are on.
    generation: u64,
    /// The leases by their tokens.
    held: HashMap<u64, Held>,
    /// Leases that are to be released at the server.
    returned: Vec<Returned>,
}

/// A lease that is no longer held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) lease: HeldLease,
    /// Whether its load failed. If so, waiters on other instances do not wait for another load.
    pub(crate) load_failed: bool,
}

#[derive(Debug)]
struct Held {
    lease: HeldLease,
    holders: usize,
    since: Instant,
}

/// A lease, as the commands name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldLease {
    /// The name of its key.
    pub(crate) name: String,
    pub(crate) token: u64,
    pub(crate) digest: u64,
    /// Whether other callers wait for it, so that it is renewed and released.
    pub(crate) exclusive: bool,
}

/// Holds a lease, and releases it when dropped.
#[derive(Debug)]
pub(crate) struct Holder {
    leases: Arc<Leases>,
    token: u64,
    load_failed: bool,
}

impl Leases {
    /// Holds a lease that was given on the connection with that number. Returns `None` if that is
    /// not the current one.
    pub(crate) fn hold(self: &Arc<Self>, lease: HeldLease, generation: u64) -> Option<Holder> {
        let mut state = self.lock();
        if state.generation != generation {
            return None;
        }
        let token = lease.token;
        let held = state.held.entry(token).or_insert_with(|| Held {
            lease,
            holders: 0,
            since: Instant::now(),
        });
        held.holders += 1;
        Some(Holder {
            leases: Arc::clone(self),
            token,
            load_failed: false,
        })
    }

    /// Whether a lease is held on the connection with that number.
    pub(crate) fn holds(&self, token: u64, generation: u64) -> bool {
        let state = self.lock();
        state.generation == generation && state.held.contains_key(&token)
    }

    /// Notes that the server no longer has a lease: a record was stored under it, or it was never
    /// given.
    pub(crate) fn is_over(&self, token: u64) {
        self.lock().held.remove(&token);
    }

    /// The leases that are to be renewed: other callers wait for them, and their loads are not
    /// considered stuck.
    pub(crate) fn to_renew(&self) -> Vec<HeldLease> {
        let state = self.lock();
        let live = state
            .held
            .values()
            .filter(|held| held.lease.exclusive && held.since.elapsed() < LONGEST_LOAD);
        live.map(|held| held.lease.clone()).collect()
    }

    /// Waits for leases that are to be released, and returns them.
    pub(crate) async fn returned(&self) -> Vec<Returned> {
        loop {
            let rung = self.returned.notified();
            let returned = self.take_returned();
            if !returned.is_empty() {
                return returned;
            }
            rung.await;
        }
    }

    /// The leases that are to be released.
    pub(crate) fn take_returned(&self) -> Vec<Returned> {
        std::mem::take(&mut self.lock().returned)
    }

    /// Notes that there is another connection, or none. The leases of the previous one are lost.
    pub(crate) fn begin(&self, generation: u64) {
        let mut state = self.lock();
        state.generation = generation;
        state.held.clear();
        state.returned.clear();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LeaseHeld for Holder {
    fn load_failed(&mut self) {
        self.load_failed = true;
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        let Some(held) = state.held.get_mut(&self.token) else {
            return;
        };
        held.holders -= 1;
        if held.holders == 0
            && let Some(Held { lease, .. }) = state.held.remove(&self.token)
            && lease.exclusive
        {
            state.returned.push(Returned {
                lease,
                load_failed: self.load_failed,
            });
            drop(state);
            self.leases.returned.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(token: u64, exclusive: bool) -> HeldLease {
        HeldLease {
            name: "k".into(),
            token,
            digest: 0,
            exclusive,
        }
    }

    #[test]
    fn a_lease_is_given_back_by_its_last_holder_unless_it_was_used() {
        let leases = Arc::new(Leases::default());
        let first = leases.hold(lease(1, true), 0).unwrap();
        let shared = [(); 2].map(|()| leases.hold(lease(2, false), 0).unwrap());
        let used = leases.hold(lease(3, true), 0).unwrap();
        assert_eq!(leases.to_renew().len(), 2);
        leases.is_over(3);
        drop(used);
        drop(shared);
        assert!(leases.holds(1, 0) && !leases.holds(2, 0) && !leases.holds(3, 0));
        assert!(leases.take_returned().is_empty());
        drop(first);
        let returned = |token, load_failed| Returned {
            lease: lease(token, true),
            load_failed,
        };
        assert_eq!(leases.take_returned(), [returned(1, false)]);
        let mut failed = leases.hold(lease(4, true), 0).unwrap();
        failed.load_failed();
        drop(failed);
        assert_eq!(leases.take_returned(), [returned(4, true)]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_load_that_is_stuck_does_not_keep_others_waiting_for_ever() {
        let leases = Arc::new(Leases::default());
        let holder = leases.hold(lease(1, true), 0).unwrap();
        tokio::time::advance(LONGEST_LOAD - Duration::from_secs(1)).await;
        assert_eq!(leases.to_renew().len(), 1);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(leases.to_renew().len(), 0);
        drop(holder);
    }

    #[test]
    fn a_lease_does_not_outlive_its_connection() {
        let leases = Arc::new(Leases::default());
        let old = leases.hold(lease(1, true), 0).unwrap();
        leases.begin(1);
        assert!(!leases.holds(1, 0) && !leases.holds(1, 1));
        assert!(
            leases.hold(lease(2, true), 0).is_none(),
            "its reply came late"
        );
        drop(old);
        assert!(leases.take_returned().is_empty());
    }
}
