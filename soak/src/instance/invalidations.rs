//! Invalidations, with a record of how far each came.

use std::sync::atomic::Ordering;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Error, Invalidation, invalidate};

use super::Instance;
use super::functions::{bounded, in_memory, serving, strong};
use crate::clock;
use crate::history::{Event, Function, Reached, Scope, function_of};

fn invalidation(scope: Scope, start: u64, reached: Reached) -> Event {
    Event::Invalidation {
        life: Instance::get().life,
        scope,
        start,
        end: clock::now(),
        reached,
    }
}

pub(super) fn invalidating(scope: Scope) -> Invalidation {
    match scope {
        Scope::One(item) => match function_of(item) {
            Function::Bounded => invalidate!(bounded, item),
            Function::Strong => invalidate!(strong, item),
            Function::Serving => invalidate!(serving, item),
            Function::Memory => invalidate!(in_memory, item),
            Function::Nested | Function::Failing | Function::Asked => {
                unreachable!("no instance invalidates item {item}")
            }
        },
        Scope::FunctionOf(item) => match function_of(item) {
            Function::Bounded => invalidate!(bounded),
            Function::Strong => invalidate!(strong),
            Function::Serving => invalidate!(serving),
            Function::Memory | Function::Nested | Function::Failing | Function::Asked => {
                unreachable!("no instance invalidates the function of item {item}")
            }
        },
    }
}

/// Notes how far an invalidation came when it is dropped, whatever ends it.
pub(super) struct Noted {
    scope: Scope,
    start: u64,
    reached: Reached,
}

impl Noted {
    pub(super) fn begin(scope: Scope) -> Self {
        Self {
            scope,
            start: clock::now(),
            reached: Reached::Dropped,
        }
    }

    /// What was promised, if it did not fail: it is not to, whatever happens to Redis.
    pub(super) fn returned(mut self, result: Result<Reached, Error>) -> Option<Reached> {
        match result {
            Ok(reached) => {
                self.reached = reached;
                Some(reached)
            }
            Err(error) => {
                eprintln!("an invalidation failed: {error:?}");
                Instance::get().errors.fetch_add(1, Ordering::Relaxed);
                None
            }
        }
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        Instance::get().record(&invalidation(self.scope, self.start, self.reached));
    }
}

/// Invalidates one key or its function and notes how far that came.
pub(super) async fn invalidate(scope: Scope) -> Option<Reached> {
    let noted = Noted::begin(scope);
    let result = invalidating(scope).await;
    noted.returned(result.map(reached))
}

/// The same, until it has settled.
pub(super) async fn settle(scope: Scope) -> Option<Reached> {
    let noted = Noted::begin(scope);
    let result = invalidating(scope).settled().await;
    noted.returned(result.map(|()| Reached::Settled))
}

pub(super) fn reached(receipt: Receipt) -> Reached {
    match receipt {
        Receipt::Acked => Reached::Acked,
        Receipt::Queued => Reached::Queued,
    }
}
