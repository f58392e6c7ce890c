//! Calls of the cached functions, recorded with the version that they return.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::sleep;

use super::functions::{
    LoadFailed, Versioned, bounded, bounded_batch, in_memory, revalidated, serving, stale_if_error,
    strong,
};
use super::state::Instance;
use crate::clock;
use crate::history::{By, Event};
use crate::items::{Function, Item, PROBE, function_of};

/// Reads one key and records the result.
pub(super) async fn read(item: Item) {
    let start = clock::now();
    let function = function_of(item);
    let result = match function {
        Function::Bounded => bounded(item).await,
        Function::Strong => strong(item).await,
        Function::Serving => serving(item).await,
        Function::Memory => in_memory(item).await,
        Function::Revalidated => revalidated(item).await,
        Function::StaleIfError => stale_if_error(item).await,
        Function::Nested | Function::Failing | Function::Unchanged => return,
    };
    let by = match function {
        Function::Strong => By::Strong,
        _ => By::Call,
    };
    record_read(item, result, by, start);
}

/// Reads several keys of the function with a bound at once, and records each result.
pub(super) async fn read_batch(items: Vec<Item>) {
    let start = clock::now();
    match bounded_batch(items).await {
        Ok(found) => {
            for (item, versioned) in found {
                record_read(item, Ok(versioned), By::Batch, start);
            }
        }
        Err(error) => record_read(PROBE, Err(error), By::Batch, start),
    }
}

/// Reads one key without a load, and records the result if the key has a value.
pub(super) async fn peek(item: Item) {
    let start = clock::now();
    if let Some(kept) = bounded::entry(item).peek().await {
        record_read(item, Ok(kept), By::Peek, start);
    }
}

/// Reads one key of the function with a bound by a strong call, and records the result.
pub(super) async fn read_strongly(item: Item) {
    let start = clock::now();
    let result = bounded::entry(item).strong().await;
    record_read(item, result, By::Strong, start);
}

pub(super) fn record_read(item: Item, result: Result<Versioned, LoadFailed>, by: By, start: u64) {
    let (instance, end) = (Instance::get(), clock::now());
    match result {
        Ok(versioned) => instance.record(&Event::Read {
            life: instance.life,
            item,
            // The value of another key is recorded as a version that was never committed.
            version: if versioned.item == item {
                versioned.version
            } else {
                u64::MAX
            },
            by,
            start,
            end,
        }),
        Err(LoadFailed) => {
            instance.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Reads the probe once a millisecond.
pub(super) async fn probe() {
    while Instance::get().probing.load(Ordering::Relaxed) {
        read(PROBE).await;
        sleep(Duration::from_millis(1)).await;
    }
}

/// Reads one key by concurrent calls. Returns the first begin and the last return.
pub(super) async fn burst(item: Item, number: usize) -> (u64, u64) {
    let mut calls = JoinSet::new();
    for _ in 0..number {
        calls.spawn(async move {
            let start = clock::now();
            read(item).await;
            (start, clock::now())
        });
    }
    let times = calls.join_all().await;
    let first = times.iter().map(|(start, _)| *start).min();
    let last = times.iter().map(|(_, end)| *end).max();
    (first.unwrap_or(0), last.unwrap_or(0))
}
