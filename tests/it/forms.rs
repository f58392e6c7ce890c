//! Every form of function that the attribute accepts.

use std::cell::Cell;

thread_local! {
    /// Number of loads on this thread. Each test runs on a thread of its own.
    static LOADS: Cell<u64> = const { Cell::new(0) };
}

/// Counts a load, and returns the number of those before it.
fn count() -> u64 {
    LOADS.replace(LOADS.get() + 1)
}

fn loads() -> u64 {
    LOADS.get()
}

/// Evaluates each call twice in a runtime with memory only, and asserts that the second is a hit.
macro_rules! assert_cached {
    ($($call:expr),+ $(,)?) => {{
        testbed::Instance::with_memory().await.call(async {
            $(
                let first = $call.await;
                let loads = $crate::forms::loads();
                assert_eq!(first, $call.await, "{}", stringify!($call));
                assert_eq!($crate::forms::loads(), loads, "{} ran again", stringify!($call));
            )+
        })
        .await
    }};
}

mod functions;
mod generics;
mod methods;
mod scopes;
mod traits;
