//! Ends a test process that hangs, recognized by a server that has been running for too long.

#![expect(
    clippy::disallowed_methods,
    reason = "the watch uses the real time, even if a test has paused its own"
)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// Longest lifetime of a server: many times what the longest test takes.
const LONGEST: Duration = Duration::from_secs(300);

static RUNNING: Mutex<Option<HashMap<u32, Running>>> = Mutex::new(None);

struct Running {
    /// Name of the test, which the harness gives to its thread.
    test: String,
    since: Instant,
}

/// Registers the server process with this id for the calling test. If the server still runs after
/// five minutes, the watch ends the whole test process and its servers: a test that waits forever
/// reports nothing.
pub(crate) fn begin(process: u32) {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                end_if_hanging(Instant::now());
            }
        });
    });
    let test = std::thread::current().name().unwrap_or("?").to_owned();
    let running = Running {
        test,
        since: Instant::now(),
    };
    running_now()
        .get_or_insert_default()
        .insert(process, running);
}

/// Removes a server process that has ended.
pub(crate) fn end(process: u32) {
    running_now().get_or_insert_default().remove(&process);
}

fn end_if_hanging(now: Instant) {
    let running = running_now();
    let Some(servers) = &*running else { return };
    let is_over = |running: &&Running| now.duration_since(running.since) > LONGEST;
    let Some(hangs) = servers.values().find(is_over) else {
        return;
    };
    eprintln!(
        "the server of {} has been running for {LONGEST:?}: the test hangs",
        hangs.test
    );
    for process in servers.keys() {
        let kill = std::process::Command::new("kill")
            .args(["-KILL", &process.to_string()])
            .status();
        drop(kill);
    }
    std::process::exit(101);
}

fn running_now() -> MutexGuard<'static, Option<HashMap<u32, Running>>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
