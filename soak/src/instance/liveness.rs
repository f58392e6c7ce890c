//! Calls and reports that show whether the cache of an instance works.

use std::sync::atomic::Ordering;
use std::time::Duration;

use multi_tier_cached::CacheRuntime;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::functions::{failing, nesting, unchanged};
use super::state::Instance;
use crate::clock;
use crate::history::Event;
use crate::items::{HOT_ITEMS, Item, UNCHANGED};

/// Number of calls of one key, one after another.
const CALLS: usize = 5;

/// Calls one key several times, one call after another.
pub(super) async fn call(item: Item) {
    for _ in 0..CALLS {
        timed(item, async { drop(unchanged(item).await) }).await;
    }
}

/// Calls one key whose loads fail, by concurrent calls.
pub(super) async fn fail(item: Item, number: usize) {
    let mut calls = JoinSet::new();
    for _ in 0..number {
        calls.spawn(timed(item, async move { drop(failing(item).await) }));
    }
    calls.join_all().await;
}

/// Runs concurrent bodies, each of its own key, that call one slow key.
pub(super) async fn nest(item: Item, number: usize) {
    let life = Instance::get().life;
    let mut calls = JoinSet::new();
    for caller in 0..number {
        let caller = format!("{}-{}-{caller}", life.instance, life.number);
        calls.spawn(timed(
            item,
            async move { drop(nesting(item, caller).await) },
        ));
    }
    calls.join_all().await;
}

/// Records the duration of a call.
async fn timed(item: Item, call: impl Future<Output = ()>) {
    let instance = Instance::get();
    let start = clock::now();
    call.await;
    instance.record(&Event::Call {
        life: instance.life,
        item,
        start,
        end: clock::now(),
    });
}

/// Records the health of the runtime. Returns `true` if it is well.
pub(super) async fn report(runtime: &CacheRuntime) -> bool {
    let instance = Instance::get();
    let start = clock::now();
    let health = runtime.health().await;
    let well = health.is_well();
    let isolations = health.tiers.iter().map(|tier| tier.health.isolations);
    instance.record(&Event::Health {
        life: instance.life,
        well,
        isolations: isolations.sum(),
        start,
        end: clock::now(),
    });
    well
}

/// Reports the health and calls the hot keys repeatedly, until `unwatch`.
pub(super) async fn watch(runtime: CacheRuntime) {
    while Instance::get().watching.load(Ordering::Relaxed) {
        report(&runtime).await;
        for item in UNCHANGED..UNCHANGED + HOT_ITEMS {
            timed(item, async { drop(unchanged(item).await) }).await;
        }
        sleep(Duration::from_millis(50)).await;
    }
}
