//! Wakers, which may use the tier themselves.

use std::future::Future;
use std::pin::pin;
use std::sync::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::thread;

use super::*;

/// Asks the tier for its breaker, which takes a lock, when it is woken.
struct UsesTier {
    tier: Weak<ObjectTier>,
    is_woken: AtomicBool,
}

impl Wake for UsesTier {
    fn wake(self: Arc<Self>) {
        let tier = self.tier.upgrade().expect("the tier is in use");
        tier.breaker();
        self.is_woken.store(true, Ordering::SeqCst);
    }
}

/// Checks that a step wakes a waiter, and holds no lock then. `wait` makes the waiter.
fn check_wakes_without_a_lock<F: Future>(
    wait: impl FnOnce(Arc<ObjectTier>) -> F + Send + 'static,
    step: impl FnOnce(&ObjectTier) + Send + 'static,
) {
    let (done, result) = mpsc::channel();
    // A thread of its own, because a deadlock would never end.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        let _entered = runtime.enter();
        let objects = Objects::new(Storage::new().operator).prefix("p");
        let tier = Arc::new(ObjectTier::new(objects));
        let waker = Arc::new(UsesTier {
            tier: Arc::downgrade(&tier),
            is_woken: AtomicBool::new(false),
        });
        let mut waiter = pin!(wait(Arc::clone(&tier)));
        let task = Waker::from(Arc::clone(&waker));
        let polled = waiter.as_mut().poll(&mut Context::from_waker(&task));
        assert!(polled.is_pending());
        step(&tier);
        let _ = done.send(waker.is_woken.load(Ordering::SeqCst));
    });
    let is_woken = result.recv_timeout(Duration::from_secs(10));
    assert!(is_woken.expect("the waker ran under a lock, or the step panicked"));
}

fn take_over(tier: &ObjectTier) {
    tier.prefix().take_over(Instant::now() + HOUR, None);
}

#[test]
fn waiter_for_pending_invalidations_is_woken_without_a_lock() {
    let wait = async |tier: Arc<ObjectTier>| {
        for number in 0..2 {
            tier.invalidate_later(Target::Function(&FunctionKey::new("f", number)));
        }
        tier.settle().await
    };
    check_wakes_without_a_lock(wait, |tier| {
        take_over(tier);
        assert!(tier.prefix().void_pending());
        assert_eq!(tier.health().queued, 0);
    });
}

#[test]
fn waiter_for_a_lease_is_woken_without_a_lock_when_the_prefix_is_taken_over() {
    let wait = async |tier: Arc<ObjectTier>| {
        let key = key("f", 1);
        let store = &tier.prefix().store;
        let take = || {
            let stamp = store.epochs.stamp(&key.function);
            store.state.leases().take(&key, LeaseMode::Exclusive, stamp)
        };
        match (take(), take()) {
            (LeaseResult::Granted(_held), LeaseResult::Held(wakeup)) => wakeup.await,
            other => panic!("{other:?}"),
        }
    };
    check_wakes_without_a_lock(wait, take_over);
}
