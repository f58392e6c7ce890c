//! The function, its tiers, and the calls.

use std::error::Error;
use std::path::Path;
use std::time::Duration;

use multi_tier_cached::opendal::{Operator, services};
use multi_tier_cached::{
    CacheRuntime, Disk, Level, Memory, Objects, Redis, TierConfig, invalidate, multi_tier_cached,
};
use tokio::time::{Instant, sleep};

use crate::places::evict;

/// Entries in memory and on the disk expire soon, so that the example can show calls without them.
///
/// Entries at `l3` live twice as long as the ttl says: that is the default of `TierConfig::as_l3`.
#[multi_tier_cached(
    ttl(l1 = "200ms", l2 = "1h", l3 = "500ms", l4 = "1h"),
    name = "price",
    key = "{item}"
)]
async fn price(item: &str) -> usize {
    sleep(Duration::from_millis(30)).await;
    item.len()
}

async fn install(directory: &Path, port: u16) -> Result<CacheRuntime, Box<dyn Error>> {
    let objects = directory.join("objects").display().to_string();
    let objects = Operator::new(services::Fs::default().root(&objects))?;
    let url = format!("redis://127.0.0.1:{port}");
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l2(Redis::new(url).required())
        .l3(Disk::new(directory.join("disk")))
        .tier(Objects::new(objects), TierConfig::new(Level::L4))
        .install()
        .await?;
    println!("{:<58} {:<8} took", "", "answered by");
    Ok(runtime)
}

/// Calls the function, and prints which tier answered.
async fn call(runtime: &CacheRuntime, when: &str) {
    let hits = || {
        let stats = runtime.stats();
        let function = stats
            .functions
            .into_iter()
            .find(|function| function.name == "price");
        let hits = |level| {
            function
                .as_ref()
                .and_then(|function| Some(function.tier(level)?.hits))
        };
        [Level::L1, Level::L2, Level::L3, Level::L4].map(|level| hits(level).unwrap_or(0))
    };
    let (before, began) = (hits(), Instant::now());
    price("apple").await;
    let took = began.elapsed();
    let changed = hits()
        .iter()
        .zip(before)
        .position(|(now, before)| *now > before);
    let names = ["memory", "Redis", "disk", "objects"];
    let by = changed.map_or("the body", |at| names[at]);
    println!("{when:<58} {by:<11} {took:?}");
    // The other tiers are filled after the call has returned.
    sleep(Duration::from_millis(100)).await;
}

const NAME: &str = "{cache:0}:price:1:apple";

pub(crate) async fn first(directory: &Path, port: u16) -> Result<(), Box<dyn Error>> {
    let runtime = install(directory, port).await?;
    let memory_is_empty = || sleep(Duration::from_millis(250));
    call(&runtime, "the first call").await;
    call(&runtime, "the second").await;
    memory_is_empty().await;
    call(&runtime, "memory is empty").await;
    memory_is_empty().await;
    evict(port, NAME)?;
    call(&runtime, "memory and Redis are empty").await;
    call(&runtime, "the value was copied up").await;
    sleep(Duration::from_secs(1)).await;
    evict(port, NAME)?;
    call(&runtime, "memory, Redis and the disk are empty").await;
    memory_is_empty().await;
    call(&runtime, "the value was copied up").await;
    sleep(Duration::from_secs(1)).await;
    evict(port, NAME)?;
    std::fs::remove_dir_all(directory.join("objects/mtc/records"))?;
    call(&runtime, "all four are empty").await;
    invalidate!(price, "apple").await?;
    call(&runtime, "after `invalidate!(price, \"apple\")`").await;
    runtime.shutdown().await?;
    Ok(())
}

pub(crate) async fn after_a_restart(directory: &Path, port: u16) -> Result<(), Box<dyn Error>> {
    println!("\nanother process, with the same Redis, disk and objects:");
    let runtime = install(directory, port).await?;
    call(&runtime, "its first call").await;
    call(&runtime, "its second").await;
    sleep(Duration::from_millis(250)).await;
    evict(port, NAME)?;
    call(&runtime, "memory and Redis are empty").await;
    println!(
        "\n(Beside Redis, a disk or an object storage serves only the process that filled it, because"
    );
    println!(
        "the next one does not know what other instances invalidated in between. Without a shared"
    );
    println!("tier they serve the next process as well.)");
    runtime.shutdown().await?;
    Ok(())
}
