//! An end for a test that hangs: its server tells how long it has been running.

#![expect(
    clippy::disallowed_methods,
    reason = "it watches the real time, whatever time a test has"
)]

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::{Duration, Instant};

/// Many times what the longest test takes.
const LONGEST: Duration = Duration::from_secs(300);

static RUNNING: Mutex<Option<HashMap<u32, Running>>> = Mutex::new(None);

struct Running {
    /// The harness names a thread after the test that it runs.
    test: String,
    since: Instant,
}

/// The server process of this number runs for the calling test. Where it still does after five minutes, the whole process ends,
/// and its servers with it: a test that waits for ever says nothing.
pub(crate) fn begin(process: u32) {
    static WATCH: Once = Once::new();
    WATCH.call_once(|| {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_secs(1));
                end_what_hangs(Instant::now());
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

/// It is gone.
pub(crate) fn end(process: u32) {
    running_now().get_or_insert_default().remove(&process);
}

fn end_what_hangs(now: Instant) {
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
