//! What an instance does while it works: reads, and changes of all kinds, at random.

use std::sync::atomic::Ordering;
use std::time::Duration;

use fastrand::Rng;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{
    BOUNDED_ITEMS, Instance, Noted, PUT_ITEMS, READS_IN_A_ROW, SERVING_ITEMS, STRONG_ITEMS,
    Versioned, WRITERS, bounded, invalidate, note, peek, reached, read, read_strongly, serving,
    settle, strong,
};
use crate::clock;
use crate::history::{Function, Item, PUT, SERVING, STRONG, Scope, function_of};

/// A key, some far more often than others; never the probe.
fn any_item(rng: &mut Rng) -> Item {
    let skewed = rng.f64() * rng.f64();
    match rng.u32(..20) {
        0..4 => STRONG + (skewed * f64::from(STRONG_ITEMS)) as Item,
        4..6 => SERVING + (skewed * f64::from(SERVING_ITEMS)) as Item,
        _ => 1 + (skewed * f64::from(BOUNDED_ITEMS - 1)) as Item,
    }
}

pub(super) async fn read_at_random(mut rng: Rng) {
    while Instance::get().working.load(Ordering::Relaxed) {
        for _ in 0..READS_IN_A_ROW {
            let item = any_item(&mut rng);
            let is_bounded = function_of(item) == Function::Bounded;
            match rng.u32(..60) {
                0..2 if is_bounded => read_strongly(item).await,
                2..4 if is_bounded => peek(item).await,
                4..10 => read(PUT + rng.u32(..WRITERS * PUT_ITEMS)).await,
                _ => read(item).await,
            }
        }
        sleep(Duration::from_micros(8_000 + rng.u64(..4_000))).await;
    }
}

pub(super) async fn change_at_random(mut rng: Rng) {
    let instance = Instance::get();
    let mut settling = JoinSet::new();
    while instance.working.load(Ordering::Relaxed) {
        sleep(Duration::from_micros(20_000 + rng.u64(..80_000))).await;
        while settling.try_join_next().is_some() {}
        if rng.u32(..10) == 0 {
            put(&mut rng).await;
            continue;
        }
        let item = any_item(&mut rng);
        if instance.database.commit(item).await.is_err() {
            continue;
        }
        match rng.u32(..100) {
            0..75 => {
                invalidate(Scope::One(item)).await;
            }
            // Dropped before it returned: nothing was promised, and nothing must break.
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
            // What a refresh brings is of now.
            _ => {
                let start = clock::now();
                let refreshed = match function_of(item) {
                    Function::Bounded => bounded::entry(item).refresh().await,
                    Function::Strong => strong::entry(item).refresh().await,
                    Function::Serving => serving::entry(item).refresh().await,
                };
                note(item, refreshed, true, start);
                invalidate(Scope::One(item)).await;
            }
        }
    }
    settling.join_all().await;
}

/// Commits a version and puts it into the tiers by hand. Only this task writes these keys, so that the last is the newest.
async fn put(rng: &mut Rng) {
    let instance = Instance::get();
    let own = u32::from(instance.life.instance) % WRITERS;
    let item = PUT + own * PUT_ITEMS + rng.u32(..PUT_ITEMS);
    if let Ok(version) = instance.database.commit(item).await {
        let noted = Noted::begin(Scope::One(item));
        let result = bounded::entry(item).put(Versioned { item, version }).await;
        noted.returned(result.map(reached));
    }
}

/// Changes a key as a transaction does, under a guard; now and then without an end.
async fn guarded(item: Item, rng: &mut Rng) {
    let instance = Instance::get();
    let guard = match function_of(item) {
        Function::Bounded => bounded::entry(item).write_guard().await,
        Function::Strong => strong::entry(item).write_guard().await,
        Function::Serving => serving::entry(item).write_guard().await,
    };
    let Ok(guard) = guard else { return };
    sleep(Duration::from_micros(rng.u64(..20_000))).await;
    if instance.database.commit(item).await.is_err() {
        return;
    }
    sleep(Duration::from_micros(rng.u64(..20_000))).await;
    let noted = Noted::begin(Scope::One(item));
    if rng.u32(..4) == 0 {
        drop(guard);
        return;
    }
    let result = guard.invalidate().await;
    noted.returned(result.map(reached));
}
