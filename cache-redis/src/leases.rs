//! The leases that this instance holds on its connection. They are renewed while a load runs, given back when it is dropped,
//! and gone with the connection: what a server that took the place of another thinks of them counts for nothing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::LeaseHeld;
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long a load may take and still fill. A longer one is taken for stuck: others no longer wait for it. Where nobody
/// waits, it costs a small key per crashed load.
pub(crate) const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

/// As many as there are loads under way.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    state: Mutex<State>,
    /// Rung when some are to be given back.
    returned: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the connection they are on.
    generation: u64,
    /// By token.
    held: HashMap<u64, Held>,
    /// To be released at the server.
    returned: Vec<Returned>,
}

/// A lease that is not held any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Returned {
    pub(crate) lease: HeldLease,
    /// Whether its load failed. Waiters on other instances do not wait for another one then.
    pub(crate) load_failed: bool,
}

#[derive(Debug)]
struct Held {
    lease: HeldLease,
    holders: usize,
    since: Instant,
}

/// A lease, as the scripts name it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HeldLease {
    /// The name of its key.
    pub(crate) name: String,
    pub(crate) token: u64,
    pub(crate) digest: u64,
    /// Whether others wait for it, so that it is renewed and given back.
    pub(crate) exclusive: bool,
}

/// Holds a lease; dropped, it gives it back.
#[derive(Debug)]
pub(crate) struct Holder {
    leases: Arc<Leases>,
    token: u64,
    load_failed: bool,
}

impl Leases {
    /// Holds a lease that came over the connection of that number; `None` when that is not the one there is.
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

    /// Whether a lease is held on the connection of that number.
    pub(crate) fn holds(&self, token: u64, generation: u64) -> bool {
        let state = self.lock();
        state.generation == generation && state.held.contains_key(&token)
    }

    /// It is over at the server: it was filled under, or never given.
    pub(crate) fn is_over(&self, token: u64) {
        self.lock().held.remove(&token);
    }

    /// Those to be renewed: others wait for them, and their loads are not taken for stuck.
    pub(crate) fn to_renew(&self) -> Vec<HeldLease> {
        let state = self.lock();
        let live = state
            .held
            .values()
            .filter(|held| held.lease.exclusive && held.since.elapsed() < LONGEST_LOAD);
        live.map(|held| held.lease.clone()).collect()
    }

    /// Those to be given back, once there are any.
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

    /// Those to be given back.
    pub(crate) fn take_returned(&self) -> Vec<Returned> {
        std::mem::take(&mut self.lock().returned)
    }

    /// There is another connection now, or none, and what was held on the one before is gone.
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
