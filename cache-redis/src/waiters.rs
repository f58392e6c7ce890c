//! The calls that wait for another instance's load.

#[cfg(schedules)]
use shuttle::sync::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
#[cfg(not(schedules))]
use std::sync::{Mutex, MutexGuard};

use cache_core::tier::Woken;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Waiters by the digest of their key. As many as there are calls that wait.
#[derive(Debug, Default)]
pub(crate) struct Waiters(Mutex<HashMap<u64, Place>>);

#[derive(Debug)]
struct Place {
    bell: Arc<Notify>,
    waiting: usize,
    /// How many loads of the key failed while it was waited for.
    failed_loads: u64,
}

/// A waiter's place; given up when it is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    waiters: Arc<Waiters>,
    digest: u64,
    /// Those that had failed before it waited.
    failed_before: u64,
}

impl Waiting {
    /// Why the waiter was woken.
    pub(crate) fn woken(&self) -> Woken {
        let places = self.waiters.lock();
        let failed = places.get(&self.digest).map(|place| place.failed_loads);
        match failed.is_some_and(|failed| failed > self.failed_before) {
            true => Woken::LoadFailed,
            false => Woken::LookAgain,
        }
    }
}

impl Waiters {
    /// Takes a place. Before the lease is asked for: what is told from then on is heard.
    pub(crate) fn register(self: &Arc<Self>, digest: u64) -> (Waiting, OwnedNotified) {
        let mut places = self.lock();
        let place = places.entry(digest).or_insert_with(|| Place {
            bell: Arc::default(),
            waiting: 0,
            failed_loads: 0,
        });
        place.waiting += 1;
        let notified = Arc::clone(&place.bell).notified_owned();
        let waiting = Waiting {
            waiters: Arc::clone(self),
            digest,
            failed_before: place.failed_loads,
        };
        (waiting, notified)
    }

    pub(crate) fn wake(&self, digest: u64) {
        self.wake_after(digest, |_| {});
    }

    /// Wakes those who wait for a load that failed.
    pub(crate) fn load_failed(&self, digest: u64) {
        self.wake_after(digest, |place| place.failed_loads += 1);
    }

    fn wake_after(&self, digest: u64, note: impl FnOnce(&mut Place)) {
        let bell = self.lock().get_mut(&digest).map(|place| {
            note(place);
            Arc::clone(&place.bell)
        });
        // Outside the lock: a waker may do what it likes.
        if let Some(bell) = bell {
            bell.notify_waiters();
        }
    }

    pub(crate) fn wake_all(&self) {
        let bells: Vec<_> = self
            .lock()
            .values()
            .map(|place| Arc::clone(&place.bell))
            .collect();
        for bell in bells {
            bell.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Place>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let mut places = self.waiters.lock();
        if let Some(place) = places.get_mut(&self.digest) {
            place.waiting -= 1;
            if place.waiting == 0 {
                places.remove(&self.digest);
            }
        }
    }
}

#[cfg(all(test, schedules))]
mod schedules;

#[cfg(all(test, not(schedules)))]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn a_waiter_hears_what_is_told_after_it_registered_and_leaves_nothing() {
        let waiters = Arc::new(Waiters::default());
        let (first, heard) = waiters.register(1);
        let (second, other) = waiters.register(2);
        let (third, late) = waiters.register(1);
        let mut cx = Context::from_waker(Waker::noop());
        waiters.wake(1);
        assert!(
            pin!(heard).poll(&mut cx).is_ready(),
            "it was not polled before"
        );
        assert!(pin!(late).poll(&mut cx).is_ready());
        let mut other = pin!(other);
        assert!(other.as_mut().poll(&mut cx).is_pending());
        waiters.wake_all();
        assert!(other.poll(&mut cx).is_ready());
        let (fourth, after) = waiters.register(1);
        assert!(
            pin!(after).poll(&mut cx).is_pending(),
            "it came after the call"
        );
        assert_eq!(third.woken(), Woken::LookAgain);
        waiters.load_failed(1);
        assert_eq!(
            (third.woken(), fourth.woken()),
            (Woken::LoadFailed, Woken::LoadFailed)
        );
        let (fifth, _) = waiters.register(1);
        waiters.wake(1);
        assert_eq!(fifth.woken(), Woken::LookAgain, "the load failed before");
        drop((first, second, third, fourth, fifth));
        assert!(waiters.lock().is_empty());
    }
}
