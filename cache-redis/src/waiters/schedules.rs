//! Waiters under many schedules, by shuttle:
//! `RUSTFLAGS="--cfg schedules" cargo test --release -p cache-redis --lib schedules`.
//!
//! The server is a lock around what it would hold; what it tells is told by whoever changed it. Who is not woken waits for
//! ever here, which shuttle sees.

use std::sync::Arc;

use shuttle::future::block_on;
use shuttle::sync::Mutex;
use shuttle::thread;

use super::*;

const SCHEDULES: usize = 100_000;

/// What a server holds of one key.
#[derive(Default)]
struct Server {
    record: Option<u64>,
    is_leased: bool,
    loads: u64,
}

struct World {
    server: Mutex<Server>,
    waiters: Arc<Waiters>,
}

impl World {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            server: Mutex::new(Server::default()),
            waiters: Arc::default(),
        })
    }

    /// A call: `early` is whether a place is taken before the lease is asked for.
    fn call(&self, early: bool) -> u64 {
        loop {
            let place = early.then(|| self.waiters.register(1));
            let is_taken = {
                let mut server = self.server.lock().expect("no thread panics with it");
                if let Some(value) = server.record {
                    return value;
                }
                std::mem::replace(&mut server.is_leased, true)
            };
            if !is_taken {
                {
                    let mut server = self.server.lock().expect("no thread panics with it");
                    server.loads += 1;
                    server.record = Some(server.loads);
                    server.is_leased = false;
                }
                self.waiters.wake(1);
                continue;
            }
            let (waiting, heard) = place.unwrap_or_else(|| self.waiters.register(1));
            block_on(heard);
            drop(waiting);
        }
    }
}

fn two_calls(early: bool) {
    let world = World::new();
    let other = Arc::clone(&world);
    let thread = thread::spawn(move || other.call(early));
    let own = world.call(early);
    assert_eq!(thread.join().expect("it ends"), own);
    let server = world.server.lock().expect("no thread panics with it");
    assert_eq!(server.loads, 1, "one load, and the other heard of it");
    assert!(world.waiters.lock().is_empty());
}

#[test]
fn who_waits_is_woken_whatever_the_order() {
    shuttle::check_random(|| two_calls(true), SCHEDULES);
    shuttle::check_pct(|| two_calls(true), SCHEDULES, 3);
}

#[test]
#[should_panic(expected = "deadlock")]
fn a_place_that_is_taken_late_misses_the_call() {
    shuttle::check_random(|| two_calls(false), SCHEDULES);
}

/// The link is lost while somebody takes a place: it is told of that, or finds it lost when it asks.
#[test]
fn who_waits_is_told_when_the_link_is_lost() {
    let run = || {
        let world = World::new();
        let other = Arc::clone(&world);
        let thread = thread::spawn(move || {
            let (waiting, heard) = other.waiters.register(1);
            let is_taken = other
                .server
                .lock()
                .expect("no thread panics with it")
                .is_leased;
            if is_taken {
                block_on(heard);
            }
            drop(waiting);
        });
        world
            .server
            .lock()
            .expect("no thread panics with it")
            .is_leased = true;
        world
            .server
            .lock()
            .expect("no thread panics with it")
            .is_leased = false;
        world.waiters.wake_all();
        thread.join().expect("it ends");
        assert!(world.waiters.lock().is_empty());
    };
    shuttle::check_random(run, SCHEDULES);
}
