//! The calls that wait for another instance's load.
//!
//! # Invariants
//! 1. A waiter that registers before it asks for the lease sees every notification that follows the
//!    server's reply.
//! 2. A slot exists while it has waiters, so there are at most as many as there are waiting calls.
//! 3. No waker runs under the lock.

#[cfg(schedules)]
use shuttle::sync::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::sync::{Arc, PoisonError};
#[cfg(not(schedules))]
use std::sync::{Mutex, MutexGuard};

use cache_core::tier::Woken;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The waiters of this instance, by the digests of their keys.
#[derive(Debug, Default)]
pub(crate) struct LeaseWaiters(Mutex<HashMap<u64, WaitSlot>>);

/// The waiters of one key.
#[derive(Debug)]
struct WaitSlot {
    notify: Arc<Notify>,
    waiters: usize,
    /// The number of loads of the key that failed while it had waiters.
    failed_loads: u64,
}

/// A registered waiter. Dropping it removes it.
#[derive(Debug)]
pub(crate) struct LeaseWaiter {
    waiters: Arc<LeaseWaiters>,
    digest: u64,
    /// The number of loads that had failed when the waiter registered.
    failed_before: u64,
}

impl LeaseWaiter {
    /// Returns the reason why the waiter was woken.
    pub(crate) fn woken(&self) -> Woken {
        let slots = self.waiters.lock();
        let failed = slots.get(&self.digest).map(|slot| slot.failed_loads);
        match failed.is_some_and(|failed| failed > self.failed_before) {
            true => Woken::LoadFailed,
            false => Woken::LookAgain,
        }
    }
}

impl LeaseWaiters {
    /// Registers a waiter, and returns the notification that it waits for. Register before asking
    /// for the lease, so that a message that follows the reply is not missed.
    pub(crate) fn register(self: &Arc<Self>, digest: u64) -> (LeaseWaiter, OwnedNotified) {
        let mut slots = self.lock();
        let slot = slots.entry(digest).or_insert_with(|| WaitSlot {
            notify: Arc::default(),
            waiters: 0,
            failed_loads: 0,
        });
        slot.waiters += 1;
        let notified = Arc::clone(&slot.notify).notified_owned();
        let waiter = LeaseWaiter {
            waiters: Arc::clone(self),
            digest,
            failed_before: slot.failed_loads,
        };
        (waiter, notified)
    }

    /// Wakes the waiters of a key.
    pub(crate) fn wake(&self, digest: u64) {
        self.wake_after(digest, |_| {});
    }

    /// Wakes the waiters of a key whose load failed.
    pub(crate) fn load_failed(&self, digest: u64) {
        self.wake_after(digest, |slot| slot.failed_loads += 1);
    }

    fn wake_after(&self, digest: u64, note: impl FnOnce(&mut WaitSlot)) {
        let notify = self.lock().get_mut(&digest).map(|slot| {
            note(slot);
            Arc::clone(&slot.notify)
        });
        // Outside the lock: a waker is foreign code, and may take locks of its own.
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }

    /// Wakes all waiters.
    pub(crate) fn wake_all(&self) {
        let all: Vec<_> = self
            .lock()
            .values()
            .map(|slot| Arc::clone(&slot.notify))
            .collect();
        for notify in all {
            notify.notify_waiters();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<u64, WaitSlot>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for LeaseWaiter {
    fn drop(&mut self) {
        let mut slots = self.waiters.lock();
        if let Some(slot) = slots.get_mut(&self.digest) {
            slot.waiters -= 1;
            if slot.waiters == 0 {
                slots.remove(&self.digest);
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
    fn waiter_sees_each_notification_after_it_registered_and_leaves_no_slot() {
        let waiters = Arc::new(LeaseWaiters::default());
        let (first, notified) = waiters.register(1);
        let (second, other) = waiters.register(2);
        let (third, late) = waiters.register(1);
        let mut cx = Context::from_waker(Waker::noop());
        waiters.wake(1);
        assert!(
            pin!(notified).poll(&mut cx).is_ready(),
            "although it was not polled before"
        );
        assert!(pin!(late).poll(&mut cx).is_ready());
        let mut other = pin!(other);
        assert!(other.as_mut().poll(&mut cx).is_pending());
        waiters.wake_all();
        assert!(other.poll(&mut cx).is_ready());
        let (fourth, after) = waiters.register(1);
        assert!(
            pin!(after).poll(&mut cx).is_pending(),
            "it registered after the notification"
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
