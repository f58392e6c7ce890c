//! The disk tier: records outlive their process, one process uses a directory, and its size is
//! bounded.

use std::path::Path;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Disk, Level, Memory, invalidate, multi_tier_cached};
use testbed::directory::Directory;
use testbed::{Instance, Truth, assert_loads, assert_tier, until};

async fn instance(path: &Path) -> Instance {
    let disk = Disk::new(path).time_limit(Duration::from_secs(10));
    Instance::build(CacheRuntime::builder().l1(Memory::builder()).l3(disk)).await
}

/// Returns the key and the number of the load.
#[multi_tier_cached(ttl = "1h", tiers = "l1,l3", skip(truth))]
async fn read(truth: &Truth, key: u64) -> (u64, u64) {
    truth.read();
    (key, truth.reads())
}

#[multi_tier_cached(ttl = "1h", tiers = "l1,l3", skip(truth))]
async fn nested(truth: &Truth, key: u64) -> (u64, u64) {
    read(truth, key).await
}

#[tokio::test]
async fn record_outlives_its_process_and_an_invalidated_one_does_not_come_back() {
    let truth = Truth::new();
    let directory = Directory::new("disk");
    let first = instance(directory.path()).await;
    let mut values = Vec::new();
    for key in 0..4 {
        values.push(first.call(read(&truth, key)).await);
    }
    first.call(nested(&truth, 9)).await;
    let receipt = first.invalidate(invalidate!(read, &truth, 1)).await;
    assert_eq!(receipt, Receipt::Acked);
    first.shutdown().await.unwrap();

    let second = instance(directory.path()).await;
    for key in [0, 2, 3] {
        let value = second.call(read(&truth, key)).await;
        assert_eq!(value, values[key as usize], "{}", second.stats());
    }
    assert_ne!(second.call(read(&truth, 1)).await, values[1]);
    assert_tier(&second, "disk::read", Level::L3, |tier| tier.hits, 3).await;
    second.invalidate(invalidate!(read)).await;
    second.shutdown().await.unwrap();

    let third = instance(directory.path()).await;
    for key in [0, 2, 3] {
        let value = third.call(read(&truth, key)).await;
        assert_ne!(value, values[key as usize], "{}", third.stats());
    }
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn directory_that_another_runtime_uses_is_refused() {
    let directory = Directory::new("disk");
    let first = instance(directory.path()).await;
    let second = CacheRuntime::builder().l3(Disk::new(directory.path()));
    let error = second.build().await.map(drop).unwrap_err().to_string();
    assert!(error.contains("it is in use"), "{error}");
    first.shutdown().await.unwrap();
    let third = instance(directory.path()).await;
    third.shutdown().await.unwrap();
}

#[tokio::test]
async fn invalid_settings_of_the_disk_tier_are_refused() {
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

/// Twice the size is written, and one record is used all the time, so that it must stay.
#[tokio::test]
async fn disk_tier_keeps_to_its_size_and_evicts_what_is_not_used() {
    const MAX_BYTES: u64 = 128 << 20;
    let directory = Directory::new("disk");
    let disk = Disk::new(directory.path()).max_bytes(MAX_BYTES);
    let disk = disk.time_limit(Duration::from_secs(10));
    let here = Instance::build(CacheRuntime::builder().l3(disk)).await;
    let mut most = 0;
    for key in 1..256 {
        here.call(large(key)).await;
        if key % 8 == 0 {
            here.call(large(0)).await;
        }
        most = most.max(size(directory.path()));
    }
    // Each key was loaded once, so the record in use was never evicted.
    assert_loads(&here, "large", 256).await;
    assert!(most < MAX_BYTES * 2, "at most {} MiB were used", most >> 20);
    until("the size is within its limit", || {
        size(directory.path()) <= MAX_BYTES
    })
    .await;
    here.shutdown().await.unwrap();
}

/// Size in bytes of all files in a directory.
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
