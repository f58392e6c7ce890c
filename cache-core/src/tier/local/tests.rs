//! Wakers, and the back-offs of a private store.

use std::future::Future;
use std::pin::Pin;
use std::sync::mpsc;
use std::task::{Context, Wake, Waker};
use std::thread;

use super::*;

/// Uses the leases, which takes their lock, when it is woken.
struct UsesLeases(Arc<LocalLeases>, mpsc::Sender<()>);

impl Wake for UsesLeases {
    fn wake(self: Arc<Self>) {
        self.0.any();
        let _ = self.1.send(());
    }
}

fn key() -> RecordKey {
    RecordKey::new(Arc::new(FunctionKey::new("f", 1)), "1".into(), 1)
}

fn take(leases: &Arc<LocalLeases>) -> LeaseResult {
    take_as(leases, LeaseMode::Exclusive)
}

fn take_as(leases: &Arc<LocalLeases>, mode: LeaseMode) -> LeaseResult {
    let stamp = Stamp {
        epoch: 1,
        history: 1,
    };
    leases.take(&key(), mode, stamp)
}

#[track_caller]
fn granted(leases: &Arc<LocalLeases>, mode: LeaseMode) -> Lease {
    match take_as(leases, mode) {
        LeaseResult::Granted(lease) => lease,
        other => panic!("{mode:?} lease was not granted: {other:?}"),
    }
}

const SECOND: Duration = Duration::from_secs(1);

/// Lets a load fail.
fn fail(lease: Lease) {
    let (failures, lasts) = (lease.failures + 1, SECOND);
    lease.load_failed(Some(BackOff { failures, lasts }));
}

/// Checks that the key is backed off.
#[track_caller]
fn check_backed_off(leases: &Arc<LocalLeases>) {
    let leased = take_as(leases, LeaseMode::Refresh);
    let is_backed_off = matches!(leased, LeaseResult::BackedOff(SECOND));
    assert!(is_backed_off, "{leased:?}");
}

/// Checks that a step, which gets the lease, wakes a waiter for it, and holds no lock then.
#[track_caller]
fn check_wakes_without_the_lock(step: fn(&Arc<LocalLeases>, Lease)) {
    let (woken, is_woken) = mpsc::channel();
    // A thread of its own, because a deadlock would never end.
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().expect("a runtime");
        let _entered = runtime.enter();
        let leases = Arc::new(LocalLeases::default());
        let (LeaseResult::Granted(lease), LeaseResult::Held(mut wakeup)) =
            (take(&leases), take(&leases))
        else {
            panic!("the lease is exclusive");
        };
        let waker = Waker::from(Arc::new(UsesLeases(Arc::clone(&leases), woken)));
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut wakeup).poll(&mut context).is_pending());
        step(&leases, lease);
    });
    let is_woken = is_woken.recv_timeout(Duration::from_secs(10));
    is_woken.expect("the waker ran under the lock, or not at all");
}

#[test]
fn waiter_for_a_lease_is_woken_without_the_lock() {
    check_wakes_without_the_lock(|_, lease| drop(lease));
    check_wakes_without_the_lock(|leases, lease| drop(leases.used(&key(), lease.token)));
    check_wakes_without_the_lock(|leases, _lease| drop(leases.void(Target::All)));
    check_wakes_without_the_lock(|leases, _lease| drop(leases.guard(&key(), || {})));
    check_wakes_without_the_lock(|leases, _lease| {
        drop(leases.void_matching(&key().function, &Glob::new("*").expect("a pattern")));
    });
}

#[tokio::test(start_paused = true)]
async fn refresh_waits_for_an_exclusive_lease_and_for_a_back_off() {
    let leases = Arc::new(LocalLeases::default());
    let lease = granted(&leases, LeaseMode::Refresh);
    for mode in [LeaseMode::Exclusive, LeaseMode::Refresh] {
        let leased = take_as(&leases, mode);
        assert!(matches!(leased, LeaseResult::Held(_)), "{leased:?}");
    }
    fail(lease);
    check_backed_off(&leases);
    let exclusive = granted(&leases, LeaseMode::Exclusive);
    let leased = take_as(&leases, LeaseMode::Refresh);
    let is_held = matches!(leased, LeaseResult::Held(_));
    assert!(is_held, "there may soon be a value: {leased:?}");
    // A load that is dropped is no success: the back-off continues.
    drop(exclusive);
    check_backed_off(&leases);
    tokio::time::advance(SECOND).await;
    assert_eq!(granted(&leases, LeaseMode::Refresh).failures, 1);
}

#[tokio::test(start_paused = true)]
async fn other_modes_are_granted_during_a_back_off_with_the_failures() {
    let leases = Arc::new(LocalLeases::default());
    let modes = [LeaseMode::Exclusive, LeaseMode::Shared, LeaseMode::Preempt];
    for (mode, failures) in modes.into_iter().zip(0..) {
        let lease = granted(&leases, mode);
        assert_eq!(lease.failures, failures, "{mode:?}");
        fail(lease);
        check_backed_off(&leases);
        granted(&leases, LeaseMode::Probe);
    }
}

#[tokio::test(start_paused = true)]
async fn fill_invalidation_and_guard_end_a_back_off() {
    type Step = fn(&Arc<LocalLeases>, u64);
    let steps: [(&str, Step); 6] = [
        ("fill", |leases, token| drop(leases.used(&key(), token))),
        ("key", |leases, _| drop(leases.void(Target::Key(&key())))),
        ("function", |leases, _| {
            drop(leases.void(Target::Function(&key().function)));
        }),
        ("all", |leases, _| drop(leases.void(Target::All))),
        ("matching", |leases, _| {
            let glob = Glob::new("?").expect("a pattern");
            drop(leases.void_matching(&key().function, &glob));
        }),
        ("guard", |leases, _| leases.guard(&key(), || {}).end()),
    ];
    for (name, step) in steps {
        let leases = Arc::new(LocalLeases::default());
        fail(granted(&leases, LeaseMode::Refresh));
        let lease = granted(&leases, LeaseMode::Exclusive);
        step(&leases, lease.token);
        let next = granted(&leases, LeaseMode::Refresh);
        assert_eq!(next.failures, 0, "{name}");
        // The lease is void: its load was one of the old state.
        fail(lease);
        drop(next);
        granted(&leases, LeaseMode::Refresh);
    }
}

#[tokio::test(start_paused = true)]
async fn back_off_of_another_key_function_or_pattern_continues() {
    let leases = Arc::new(LocalLeases::default());
    fail(granted(&leases, LeaseMode::Refresh));
    let named = |function: &str, arguments: &str| {
        let function = Arc::new(FunctionKey::new(function, 1));
        RecordKey::new(function, arguments.to_owned(), 2)
    };
    drop(leases.void(Target::Key(&named("f", "2"))));
    drop(leases.void(Target::Function(&named("ff", "1").function)));
    let glob = Glob::new("2*").expect("a pattern");
    drop(leases.void_matching(&key().function, &glob));
    leases.guard(&named("f", "2"), || {}).end();
    let unused = leases.used(&key(), 0);
    drop(unused);
    check_backed_off(&leases);
}
