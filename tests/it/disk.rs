//! The tier on disk.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Disk, Level, Memory, invalidate, multi_tier_cached};
use testbed::directory::Directory;
use testbed::until;

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

async fn runtime(path: &Path) -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l3(Disk::new(path).time_limit(Duration::from_secs(10)))
        .build()
        .await
        .unwrap()
}

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h", tiers = "l1,l3")]
async fn read(key: u64) -> (u64, u64) {
    (key, LOADS.fetch_add(1, Ordering::SeqCst))
}

#[multi_tier_cached(ttl = "1h", tiers = "l1,l3")]
async fn other(key: u64) -> (u64, u64) {
    read(key).await
}

fn stored(runtime: &CacheRuntime, key: u64) -> impl Future<Output = (u64, u64)> {
    let runtime = runtime.clone();
    async move {
        let value = on(&runtime, read(key)).await;
        // A caller does not wait for its fill.
        loop {
            let peeked = on(&runtime, async { read::entry(key).peek().await }).await;
            if peeked == Some(value) {
                return value;
            }
        }
    }
}

#[tokio::test]
async fn what_was_cached_outlives_its_process_and_what_was_invalidated_does_not_come_back() {
    let directory = Directory::new("disk");
    let first = runtime(directory.path()).await;
    let mut values = Vec::new();
    for key in 0..4 {
        values.push(stored(&first, key).await);
    }
    on(&first, other(9)).await;
    let dropped = on(&first, async { invalidate!(read, 1).await });
    assert_eq!(dropped.await.unwrap(), Receipt::Acked);
    first.shutdown().await.unwrap();

    let second = runtime(directory.path()).await;
    for key in [0, 2, 3] {
        assert_eq!(on(&second, read(key)).await, values[key as usize]);
    }
    assert_ne!(on(&second, read(1)).await, values[1]);
    let stats = second.stats();
    assert_eq!(stats.functions[0].tier(Level::L3).unwrap().hits, 3);
    let all = on(&second, async { invalidate!(read).await });
    all.await.unwrap();
    second.shutdown().await.unwrap();

    let third = runtime(directory.path()).await;
    for key in [0, 2, 3] {
        assert_ne!(on(&third, read(key)).await, values[key as usize]);
    }
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_directory_is_one_process_s() {
    let directory = Directory::new("disk");
    let first = runtime(directory.path()).await;
    let second = CacheRuntime::builder().l3(Disk::new(directory.path()));
    let error = second.build().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("it is in use"), "{error}");
    first.shutdown().await.unwrap();
    let third = runtime(directory.path()).await;
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn settings_that_cannot_be_are_errors() {
    let directory = Directory::new("disk");
    let file = directory.path().join("file");
    std::fs::write(&file, "x").unwrap();
    for (disk, what) in [
        (Disk::new(""), "directory of the disk tier is empty"),
        (
            Disk::new("d").max_bytes(1 << 20),
            "it must be at least 134217728",
        ),
        (
            Disk::new("d").time_limit(Duration::ZERO),
            "time limit of the disk tier is 0s",
        ),
        (
            Disk::new("d").max_record_bytes(0),
            "maximum record size of the disk tier is 0",
        ),
        (
            Disk::new("d").max_record_bytes(1 << 30),
            "a quarter of the tier's size",
        ),
        (Disk::new(&file), "as a disk tier"),
    ] {
        let error = CacheRuntime::builder().l3(disk).build().await;
        let error = format!("{:?}", error.map(drop).unwrap_err());
        assert!(error.contains(what), "{error}");
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l3")]
async fn large(key: u64) -> String {
    key.to_string().repeat((1 << 20) / key.to_string().len())
}

/// Many times as much as it may hold is written; what is used stays.
#[tokio::test]
async fn it_takes_the_room_it_was_given() {
    const ROOM: u64 = 128 << 20;
    let directory = Directory::new("disk");
    let disk = Disk::new(directory.path()).max_bytes(ROOM);
    let runtime = CacheRuntime::builder()
        .l3(disk.time_limit(Duration::from_secs(10)))
        .build()
        .await
        .unwrap();
    let mut most = 0;
    for key in 1..256 {
        on(&runtime, large(key)).await;
        if key % 8 == 0 {
            on(&runtime, large(0)).await;
        }
        most = most.max(size(directory.path()));
    }
    let stats = runtime.stats();
    assert_eq!(stats.functions[0].loads, 256, "the one in use was dropped");
    assert!(most < ROOM * 2, "{} MiB", most >> 20);
    until("the rest is dropped", || size(directory.path()) <= ROOM).await;
    runtime.shutdown().await.unwrap();
}

fn size(path: &Path) -> u64 {
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => size(&entry.path()),
            Ok(metadata) => metadata.len(),
            Err(_) => 0,
        })
        .sum()
}
