//! Handles: `peek`, `put`, `refresh` and `invalidate`, of annotated and of built functions.

use std::cell::Cell;
use std::time::Duration;

mod built_functions;
mod puts;
mod refreshes;
mod results;
mod ttl_of_a_value;

const MINUTE: Duration = Duration::from_secs(60);

thread_local! {
    /// Value of the next load. Each test runs on a thread of its own.
    static NEXT: Cell<u64> = const { Cell::new(100) };
}

/// Returns another value for every load of a test.
fn next() -> u64 {
    NEXT.replace(NEXT.get() + 1)
}
