//! Work of an instance: reads and changes of all kinds, at random.

use std::sync::atomic::Ordering;
use std::task::Poll;
use std::time::Duration;

use fastrand::Rng;
use multi_tier_cached::ErrorKind;
use tokio::task::JoinSet;
use tokio::time::{self, sleep, timeout};

use super::functions::{Versioned, bounded, revalidated, serving, stale_if_error, strong};
use super::invalidations::{Recorder, expire_aging, invalidate, invalidation, reached, settle};
use super::reads::{peek, read, read_batch, read_strongly, record_read};
use super::state::Instance;
use crate::clock;
use crate::history::{By, Reached};
use crate::items::{
    AGING_ITEMS, BOUNDED_ITEMS, Function, GROUPS, Item, MEMORY, MEMORY_ITEMS, PUT, PUT_ITEMS,
    REVALIDATED, SERVING, SERVING_ITEMS, STALE_IF_ERROR, STRONG, STRONG_ITEMS, Scope, WRITERS,
    function_of, items_of_group,
};

/// Reads between two pauses of a reading task.
const READS_IN_A_ROW: usize = 8;

/// Largest number of keys of a batch.
const LARGEST_BATCH: usize = 24;

/// Interval at which a sleeping task checks whether the work has ended.
const CHECK_INTERVAL: Duration = Duration::from_millis(20);

/// Longest time until the first change.
const LONGEST_FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest time for which an invalidation is held without a poll.
const LONGEST_HOLD: Duration = Duration::from_secs(4);

/// Returns a random key, some far more often than others, and never the probe.
fn any_item(rng: &mut Rng) -> Item {
    let skewed = rng.f64() * rng.f64();
    match rng.u32(..30) {
        0..4 => STRONG + (skewed * f64::from(STRONG_ITEMS)) as Item,
        4..6 => SERVING + (skewed * f64::from(SERVING_ITEMS)) as Item,
        6..12 => REVALIDATED + (skewed * f64::from(AGING_ITEMS)) as Item,
        12..16 => STALE_IF_ERROR + (skewed * f64::from(AGING_ITEMS)) as Item,
        _ => 1 + (skewed * f64::from(BOUNDED_ITEMS - 1)) as Item,
    }
}

/// Returns random keys of the function with a bound, some of them more than once.
fn any_bounded_items(rng: &mut Rng) -> Vec<Item> {
    let number = rng.usize(1..=LARGEST_BATCH);
    let any = |_| 1 + (rng.f64() * rng.f64() * f64::from(BOUNDED_ITEMS - 1)) as Item;
    (0..number).map(any).collect()
}

pub(super) async fn read_at_random(mut rng: Rng) {
    while Instance::get().working.load(Ordering::Relaxed) {
        for _ in 0..READS_IN_A_ROW {
            let item = any_item(&mut rng);
            let is_bounded = function_of(item) == Function::Bounded;
            match rng.u32(..60) {
                0..2 if is_bounded => read_strongly(item).await,
                2..4 if is_bounded => peek(item).await,
                10..14 => read(MEMORY + rng.u32(..MEMORY_ITEMS)).await,
                4..10 => read(PUT + rng.u32(..WRITERS * PUT_ITEMS)).await,
                14..17 => read_batch(any_bounded_items(&mut rng)).await,
                _ => read(item).await,
            }
        }
        sleep(Duration::from_micros(8_000 + rng.u64(..4_000))).await;
    }
}

pub(super) async fn change_at_random(mut rng: Rng) {
    let instance = Instance::get();
    let mut settling = JoinSet::new();
    let mut held = JoinSet::new();
    // The first change is of a group, so that also a short run with few changes has tags.
    let mut is_first = true;
    while instance.working.load(Ordering::Relaxed) {
        let mut pause = instance.pause.mul_f64(0.3 + 1.4 * rng.f64());
        if is_first {
            pause = pause.min(LONGEST_FIRST_PAUSE);
        }
        if !sleep_while_working(pause).await {
            break;
        }
        while settling.try_join_next().is_some() {}
        while held.try_join_next().is_some() {}
        if std::mem::take(&mut is_first) {
            change_group(&mut rng).await;
            continue;
        }
        if rng.u32(..10) == 0 {
            put(&mut rng).await;
            continue;
        }
        if rng.u32(..20) == 0 {
            change_in_memory(&mut rng).await;
            continue;
        }
        if rng.u32(..10) == 0 {
            change_group(&mut rng).await;
            continue;
        }
        let item = any_item(&mut rng);
        if instance.database.commit(item).await.is_err() {
            continue;
        }
        if rng.u32(..10) == 0 {
            expire_aging(item).await;
        }
        match rng.u32(..100) {
            0..50 => {
                invalidate(Scope::One(item)).await;
            }
            50..68 => {
                held.spawn(hold(Scope::One(item), rng.fork()));
            }
            68..75 => {
                held.spawn(replicate(Scope::One(item)));
            }
            // An invalidation that is dropped before it returns promises nothing.
            75..83 => {
                let limit = Duration::from_micros(rng.u64(..1_000));
                let _ = timeout(limit, invalidate(Scope::One(item))).await;
            }
            83..85 => {
                invalidate(Scope::FunctionOf(item)).await;
            }
            85..95 => {
                settling.spawn(timeout(Duration::from_secs(10), settle(Scope::One(item))));
            }
            95..98 => {
                guarded(item, &mut rng).await;
            }
            _ => refresh(item).await,
        }
    }
    settling.join_all().await;
    held.join_all().await;
}

/// Loads a key now, and invalidates it.
async fn refresh(item: Item) {
    let start = clock::now();
    let refreshed = match function_of(item) {
        Function::Bounded => bounded::entry(item).refresh().await,
        Function::Strong => strong::entry(item).refresh().await,
        Function::Serving => serving::entry(item).refresh().await,
        Function::Revalidated => revalidated::entry(item).refresh().await,
        Function::StaleIfError => stale_if_error::entry(item).refresh().await,
        _ => return,
    };
    record_read(item, refreshed, By::Refresh, start);
    invalidate(Scope::One(item)).await;
}

/// Sleeps until `time` has passed or the work ends. Returns `true` if the instance still works.
async fn sleep_while_working(time: Duration) -> bool {
    let end = time::Instant::now() + time;
    let is_working = || Instance::get().working.load(Ordering::Relaxed);
    while is_working() && time::Instant::now() < end {
        sleep(CHECK_INTERVAL.min(end - time::Instant::now())).await;
    }
    is_working()
}

/// Polls an invalidation once and holds it, as a task does that is busy with something else. Then
/// drops or awaits it.
async fn hold(scope: Scope, mut rng: Rng) {
    let recorder = Recorder::begin(scope);
    let mut held = Box::pin(invalidation(scope));
    let first = std::future::poll_fn(|context| Poll::Ready(held.as_mut().poll(context))).await;
    if let Poll::Ready(result) = first {
        recorder.returned(result.map(reached));
        return;
    }
    sleep_while_working(LONGEST_HOLD.mul_f64(rng.f64())).await;
    if rng.bool() {
        recorder.returned(held.await.map(reached));
    }
}

/// Invalidates and waits for a replica, which may not exist.
async fn replicate(scope: Scope) {
    let recorder = Recorder::begin(scope);
    match invalidation(scope).replicated(1).await {
        Ok(receipt) => {
            recorder.returned(Ok(reached(receipt)));
        }
        // The server has applied the invalidation, and no replica has.
        Err(error) if error.kind() == ErrorKind::TimedOut => {
            recorder.returned(Ok(Reached::Acked));
        }
        // Another server may have become the primary in the meantime: then nothing is promised.
        Err(error) if error.is_transient() => {}
        Err(error) => {
            recorder.returned(Err(error));
        }
    }
}

/// Commits a version of each key of a group, and invalidates their tag.
async fn change_group(rng: &mut Rng) {
    let group = rng.u32(..GROUPS);
    for item in items_of_group(group) {
        if Instance::get().database.commit(item).await.is_err() {
            return;
        }
    }
    match rng.u32(..4) {
        0 => {
            let _ = timeout(Duration::from_secs(10), settle(Scope::Group(group))).await;
        }
        1 => hold(Scope::Group(group), rng.fork()).await,
        _ => {
            invalidate(Scope::Group(group)).await;
        }
    }
}

/// Commits a version of a key of the function in memory alone, and invalidates it.
async fn change_in_memory(rng: &mut Rng) {
    let item = MEMORY + rng.u32(MEMORY_ITEMS / 2..MEMORY_ITEMS);
    if Instance::get().database.commit(item).await.is_ok() {
        invalidate(Scope::One(item)).await;
    }
}

/// Commits a version and puts it into the tiers by hand.
///
/// Only this task writes these keys, so the version that was put last is the newest.
async fn put(rng: &mut Rng) {
    let instance = Instance::get();
    let own = u32::from(instance.life.instance) % WRITERS;
    let item = PUT + own * PUT_ITEMS + rng.u32(..PUT_ITEMS);
    if let Ok(version) = instance.database.commit(item).await {
        let recorder = Recorder::begin(Scope::One(item));
        let result = bounded::entry(item).put(Versioned { item, version }).await;
        recorder.returned(result.map(reached));
    }
}

/// Changes a key under a guard, as a transaction does. Some guards are dropped without an end.
async fn guarded(item: Item, rng: &mut Rng) {
    let instance = Instance::get();
    let guard = match function_of(item) {
        Function::Bounded => bounded::entry(item).write_guard().await,
        Function::Strong => strong::entry(item).write_guard().await,
        Function::Serving => serving::entry(item).write_guard().await,
        Function::Revalidated => revalidated::entry(item).write_guard().await,
        Function::StaleIfError => stale_if_error::entry(item).write_guard().await,
        _ => return,
    };
    let Ok(guard) = guard else { return };
    sleep(Duration::from_micros(rng.u64(..20_000))).await;
    if instance.database.commit(item).await.is_err() {
        return;
    }
    sleep(Duration::from_micros(rng.u64(..20_000))).await;
    let recorder = Recorder::begin(Scope::One(item));
    if rng.u32(..4) == 0 {
        drop(guard);
        return;
    }
    let result = guard.invalidate().await;
    recorder.returned(result.map(reached));
}
