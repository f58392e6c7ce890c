//! Waiters under many schedules, searched by shuttle:
//! `RUSTC_WORKSPACE_WRAPPER=$PWD/scripts/rustc_with_schedules.sh \
//! cargo test -p cache-redis --lib schedules`.
//!
//! The server is a lock around the state that it would hold, and each caller publishes its own
//! messages. A waiter that is not woken waits forever, which shuttle reports as a deadlock.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::Mutex;
use shuttle::thread;

use super::*;

const SCHEDULES: usize = 100_000;

/// The state of one key at a server.
#[derive(Default)]
struct Server {
    record: Option<u64>,
    is_leased: bool,
    loads: u64,
}

/// One server, and the waiters of one instance.
struct Model {
    server: Mutex<Server>,
    waiters: Arc<LeaseWaiters>,
}

impl Model {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::new(Server::default()),
            waiters: Arc::default(),
        })
    }

    /// Makes a call. `early` tells whether the waiter registers before it asks for the lease.
    fn call(&self, early: bool) -> u64 {
        loop {
            let registered = early.then(|| self.waiters.register(1));
            let is_taken = {
                let mut server = self.server.lock().expect("no thread panics with the lock");
                if let Some(value) = server.record {
                    return value;
                }
                std::mem::replace(&mut server.is_leased, true)
            };
            if !is_taken {
                {
                    let mut server = self.server.lock().expect("no thread panics with the lock");
                    server.loads += 1;
                    server.record = Some(server.loads);
                    server.is_leased = false;
                }
                self.waiters.wake(1);
                continue;
            }
            let (waiter, notified) = registered.unwrap_or_else(|| self.waiters.register(1));
            block_on(notified);
            drop(waiter);
        }
    }
}

fn two_calls(early: bool) {
    let model = Model::new();
    let other = Arc::clone(&model);
    let thread = thread::spawn(move || other.call(early));
    let own = model.call(early);
    assert_eq!(thread.join().expect("the thread ends"), own);
    let server = model.server.lock().expect("no thread panics with the lock");
    assert_eq!(server.loads, 1, "one call loads, and the other is notified");
    assert!(model.waiters.lock().is_empty());
}

#[test]
fn waiter_is_woken_in_every_order() {
    shuttle::check_random(|| two_calls(true), SCHEDULES);
    shuttle::check_pct(|| two_calls(true), SCHEDULES, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn waiter_that_registers_late_misses_the_notification() {
    shuttle::check_random(|| two_calls(false), SCHEDULES);
}

/// The link is lost while a waiter registers: the waiter is notified, or finds the link lost when
/// it asks for the lease.
#[test]
fn waiter_does_not_wait_after_the_link_is_lost() {
    let run = || {
        let model = Model::new();
        let other = Arc::clone(&model);
        let thread = thread::spawn(move || {
            let (waiter, notified) = other.waiters.register(1);
            let is_taken = other
                .server
                .lock()
                .expect("no thread panics with the lock")
                .is_leased;
            if is_taken {
                block_on(notified);
            }
            drop(waiter);
        });
        model
            .server
            .lock()
            .expect("no thread panics with the lock")
            .is_leased = true;
        model
            .server
            .lock()
            .expect("no thread panics with the lock")
            .is_leased = false;
        model.waiters.wake_all();
        thread.join().expect("the thread ends");
        assert!(model.waiters.lock().is_empty());
    };
    shuttle::check_random(run, SCHEDULES);
}
