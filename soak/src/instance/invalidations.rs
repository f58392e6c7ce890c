//! Invalidations, recorded with their outcome.

use std::sync::atomic::Ordering;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Error, Invalidation, expire, invalidate};

use super::functions::{bounded, in_memory, revalidated, serving, stale_if_error, strong};
use super::state::Instance;
use crate::clock;
use crate::history::{Event, Reached};
use crate::items::{Function, Item, Scope, function_of};

/// Returns the invalidation of one key, of its function or of a tag, which is not polled yet.
pub(super) fn invalidation(scope: Scope) -> Invalidation {
    match scope {
        Scope::One(item) => match function_of(item) {
            // Expiring a value that has no window invalidates it.
            Function::Bounded if fastrand::u8(..8) == 0 => expire!(bounded, item),
            Function::Bounded => invalidate!(bounded, item),
            Function::Strong => invalidate!(strong, item),
            Function::Serving if fastrand::bool() => invalidate!(tag "soak-item:{item}"),
            Function::Serving => invalidate!(serving, item),
            Function::Memory => invalidate!(in_memory, item),
            Function::Revalidated => invalidate!(revalidated, item),
            Function::StaleIfError => invalidate!(stale_if_error, item),
            Function::Nested | Function::Failing | Function::Unchanged => {
                unreachable!("no instance invalidates item {item}")
            }
        },
        Scope::FunctionOf(item) => match function_of(item) {
            Function::Bounded => invalidate!(bounded),
            Function::Strong => invalidate!(strong),
            Function::Serving => invalidate!(serving),
            Function::Revalidated => invalidate!(revalidated),
            Function::StaleIfError => invalidate!(stale_if_error),
            Function::Memory | Function::Nested | Function::Failing | Function::Unchanged => {
                unreachable!("no instance invalidates the function of item {item}")
            }
        },
        Scope::Group(group) => invalidate!(tag "soak-group:{group}"),
    }
}

/// Records the outcome of an invalidation when this is dropped, whatever ends the invalidation.
pub(super) struct Recorder {
    scope: Scope,
    start: u64,
    reached: Reached,
}

impl Recorder {
    pub(super) fn begin(scope: Scope) -> Self {
        Self {
            scope,
            start: clock::now(),
            reached: Reached::Dropped,
        }
    }

    /// Records the result. Returns `None` for an error, which no fault of Redis may cause.
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

impl Drop for Recorder {
    fn drop(&mut self) {
        let instance = Instance::get();
        instance.record(&Event::Invalidation {
            life: instance.life,
            scope: self.scope,
            start: self.start,
            end: clock::now(),
            reached: self.reached,
        });
    }
}

/// Invalidates one key or its function, and records the outcome.
pub(super) async fn invalidate(scope: Scope) -> Option<Reached> {
    let recorder = Recorder::begin(scope);
    let result = invalidation(scope).await;
    recorder.returned(result.map(reached))
}

/// Invalidates one key or its function, waits until that has settled, and records the outcome.
pub(super) async fn settle(scope: Scope) -> Option<Reached> {
    let recorder = Recorder::begin(scope);
    let result = invalidation(scope).settled().await;
    recorder.returned(result.map(|()| Reached::Settled))
}

pub(super) fn reached(receipt: Receipt) -> Reached {
    match receipt {
        Receipt::Acked => Reached::Acked,
        Receipt::Queued => Reached::Queued,
    }
}

/// Makes the value of a key with stale values stale, or does nothing. A value that is expired may
/// still be returned as long as the windows of its function allow, so nothing is recorded.
pub(super) async fn expire_aging(item: Item) {
    let expired = match function_of(item) {
        Function::Revalidated => expire!(revalidated, item).await,
        Function::StaleIfError => expire!(stale_if_error, item).await,
        _ => return,
    };
    if let Err(error) = expired {
        eprintln!("an expiry failed: {error:?}");
        Instance::get().errors.fetch_add(1, Ordering::Relaxed);
    }
}
