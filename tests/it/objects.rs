//! The object tier: records outlive their process, one instance uses a prefix, and failed or
//! delayed writes bring nothing back.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{
    CacheRuntime, Disk, ErrorKind, Level, Memory, Objects, Redis, TierConfig, invalidate,
    multi_tier_cached,
};
use opendal::Operator;
use opendal::services::Fs;
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Instance, Truth, until};
use tokio::time::timeout;

/// Returns the key and the number of the load.
#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, key: u64) -> (u64, u64) {
    truth.read();
    (key, truth.reads())
}

fn objects(path: &Path) -> Objects {
    let files = Fs::default().root(&path.display().to_string());
    Objects::new(Operator::new(files).unwrap()).time_limit(Duration::from_secs(5))
}

async fn instance(path: &Path) -> Instance {
    let builder = CacheRuntime::builder().l1(Memory::builder());
    Instance::build(builder.l4(objects(path))).await
}

/// All files in a directory and in those below it.
fn files(path: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(path) else {
        return Vec::new();
    };
    let paths = entries.map(|entry| entry.unwrap().path());
    paths
        .flat_map(|path| {
            if path.is_dir() {
                files(&path)
            } else {
                vec![path]
            }
        })
        .collect()
}

fn records(path: &Path) -> Vec<PathBuf> {
    files(&path.join("mtc/records"))
}

/// Loads a key and waits until its record is stored.
async fn stored(instance: &Instance, path: &Path, truth: &Truth, key: u64) -> (u64, u64) {
    let before = records(path).len();
    let value = instance.call(read(truth, key)).await;
    until("the record is stored", || records(path).len() > before).await;
    value
}

#[tokio::test]
async fn record_outlives_its_process_and_an_invalidated_one_does_not_come_back() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = instance(path).await;
    let values = [
        stored(&first, path, &truth, 1).await,
        stored(&first, path, &truth, 2).await,
    ];
    let receipt = first.invalidate(invalidate!(read, &truth, 2)).await;
    assert_eq!(receipt, Receipt::Acked);
    assert_eq!(records(path).len(), 1);
    first.shutdown().await.unwrap();
    let second = instance(path).await;
    assert_eq!(second.call(read(&truth, 1)).await, values[0]);
    assert_ne!(second.call(read(&truth, 2)).await, values[1]);
    until("the record is stored", || records(path).len() == 2).await;
    let receipt = second.invalidate(invalidate!(read)).await;
    assert_eq!(receipt, Receipt::Acked);
    second.shutdown().await.unwrap();
    let third = instance(path).await;
    assert_ne!(third.call(read(&truth, 1)).await, values[0]);
}

#[tokio::test]
async fn prefix_that_another_instance_uses_is_not_read_until_that_one_shuts_down() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = instance(path).await;
    let value = stored(&first, path, &truth, 3).await;
    let second = instance(path).await;
    assert!(first.tiers()[0].health.connected && !second.tiers()[0].health.connected);
    assert_ne!(
        second.call(read(&truth, 3)).await,
        value,
        "a record of the other instance was returned"
    );
    let health = second.health().await;
    let last_error = health.tiers[0].last_error.as_deref().unwrap();
    assert!(
        last_error.contains("each instance needs a prefix"),
        "{last_error}"
    );
    assert!(!health.is_well() && first.health().await.is_well());
    let required = CacheRuntime::builder().l4(objects(path).required());
    let error = format!("{:?}", required.build().await.unwrap_err());
    assert!(error.contains("each instance needs a prefix"), "{error}");
    let other = CacheRuntime::builder().l4(objects(path).prefix("other"));
    assert!(other.build().await.unwrap().tiers()[0].health.connected);
    first.shutdown().await.unwrap();
    let third = instance(path).await;
    assert_eq!(
        third.call(read(&truth, 3)).await,
        value,
        "the prefix was free"
    );
}

/// The object tier has started and owns the prefix when the build fails because of the disk, so it
/// must shut down in order. Otherwise its successor would begin with an empty store.
#[tokio::test]
async fn build_that_fails_leaves_the_records_to_the_next_instance() {
    let truth = Truth::new();
    let (directory, disks) = (
        Directory::new("handed-on"),
        Directory::new("handed-on-disk"),
    );
    let first = instance(directory.path()).await;
    let value = stored(&first, directory.path(), &truth, 1).await;
    first.shutdown().await.unwrap();
    let disk = || Disk::new(disks.path());
    let holder = CacheRuntime::builder().l3(disk()).build().await.unwrap();
    let builder = CacheRuntime::builder().l2(objects(directory.path()));
    let error = builder.l3(disk()).build().await.unwrap_err();
    assert!(format!("{error:?}").contains("in use"), "{error:?}");
    let second = instance(directory.path()).await;
    assert_eq!(second.call(read(&truth, 1)).await, value);
    second.shutdown().await.unwrap();
    holder.shutdown().await.unwrap();
}

/// The process may have invalidated records, or may have been writing one, when it was killed.
#[tokio::test(start_paused = true)]
async fn records_of_a_killed_process_are_not_returned() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = instance(path).await;
    let value = stored(&first, path, &truth, 40).await;
    drop(first);
    let second = instance(path).await;
    assert!(
        !second.tiers()[0].health.connected,
        "the prefix was taken although its owner may be alive"
    );
    // Time is paused. An owner that is silent for this long has lost the prefix; `until` alone
    // would reach its own limit.
    tokio::time::sleep(Duration::from_secs(20)).await;
    until("the prefix is taken over", || {
        second.tiers()[0].health.connected
    })
    .await;
    assert_ne!(second.call(read(&truth, 40)).await, value);
}

/// The sweep must remove records of an invalidated function and torn ones. It must keep valid ones
/// and files that are not records of the cache.
#[tokio::test]
async fn stale_and_torn_records_are_swept_and_valid_ones_and_foreign_files_are_kept() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let runtime = Instance::build(
        CacheRuntime::builder()
            .l1(Memory::builder())
            .l4(objects(path).sweep_every(Duration::from_millis(200))),
    )
    .await;
    for key in 41..45 {
        stored(&runtime, path, &truth, key).await;
    }
    fs::write(&records(path)[0], "torn").unwrap();
    let receipt = runtime.invalidate(invalidate!(read)).await;
    assert_eq!(receipt, Receipt::Acked);
    let mine = path.join("mtc/records/00/mine");
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(&mine, "").unwrap();
    let value = runtime.call(read(&truth, 45)).await;
    until("the stale records are swept", || records(path).len() == 2).await;
    runtime.shutdown().await.unwrap();
    let next = instance(path).await;
    assert_eq!(next.call(read(&truth, 45)).await, value);
    assert!(mine.exists());
}

#[tokio::test]
async fn settled_invalidation_waits_until_the_storage_has_done_it() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let runtime = instance(path).await;
    stored(&runtime, path, &truth, 46).await;
    // A directory that is not empty cannot be removed as an object.
    let object = records(path).remove(0);
    fs::remove_file(&object).unwrap();
    fs::create_dir_all(object.join("in/the/way")).unwrap();
    let mut settled =
        Box::pin(runtime.call(async { invalidate!(read, &truth, 46).settled().await }));
    // Long enough for several attempts, each of which fails.
    let early = timeout(Duration::from_millis(500), &mut settled).await;
    assert!(early.is_err(), "the storage cannot have done it: {early:?}");
    assert_eq!(runtime.tiers()[0].health.queued, 1);
    fs::remove_dir_all(&object).unwrap();
    settled.await.unwrap();
    assert_eq!(runtime.tiers()[0].health.queued, 0);
}

/// The write may still land later, so no record of the same epoch may be returned.
#[tokio::test]
async fn failed_write_makes_all_records_of_its_function_stale() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = instance(path).await;
    let value = stored(&first, path, &truth, 4).await;
    let blocked: Vec<_> = (0..=u8::MAX)
        .map(|shard| path.join(format!("mtc/records/{shard:02x}")))
        .filter(|shard| !shard.exists())
        .collect();
    for shard in &blocked {
        fs::write(shard, "").unwrap();
    }
    for key in 5..20 {
        first.call(read(&truth, key)).await;
    }
    until("a write has failed", || failed_operations(&first) > 0).await;
    for shard in &blocked {
        fs::remove_file(shard).unwrap();
    }
    until("the function is invalidated", || {
        first.tiers()[0].health.queued == 0
    })
    .await;
    first.shutdown().await.unwrap();
    let second = instance(path).await;
    assert_ne!(second.call(read(&truth, 4)).await, value);
}

/// Number of operations that failed in the object tier.
fn failed_operations(instance: &Instance) -> u64 {
    let functions = instance.stats().functions;
    let errors = functions
        .iter()
        .map(|function| function.tier(Level::L4).unwrap().tier_errors);
    errors.sum()
}

#[tokio::test]
async fn torn_record_is_a_miss() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = instance(path).await;
    let value = stored(&first, path, &truth, 30).await;
    first.shutdown().await.unwrap();
    let object = records(path).remove(0);
    let whole = fs::read(&object).unwrap();
    for length in [0, 7, 11, 20, whole.len() / 2, whole.len() - 1] {
        fs::write(&object, &whole[..length]).unwrap();
        let next = instance(path).await;
        assert_ne!(next.call(read(&truth, 30)).await, value, "{length} bytes");
        next.shutdown().await.unwrap();
    }
    let _ = fs::remove_file(&object);
    fs::write(&object, &whole).unwrap();
    let next = instance(path).await;
    assert_eq!(next.call(read(&truth, 30)).await, value);
}

#[tokio::test]
async fn object_tier_answers_when_the_shared_tier_above_it_lost_the_record() {
    let truth = Truth::new();
    let directory = Directory::new("objects");
    let path = directory.path();
    let server = Server::start();
    let here = Instance::build(
        CacheRuntime::builder()
            .l2(Redis::new(server.url()))
            .tier(objects(path), TierConfig::as_l4()),
    )
    .await;
    let value = stored(&here, path, &truth, 31).await;
    until("Redis is filled", || server.records().len() == 1).await;
    let record = server.records().remove(0);
    let _: u64 = server.command(&["DEL", &record]);
    assert_eq!(here.call(read(&truth, 31)).await, value);
    let receipt = here.invalidate(invalidate!(read, &truth, 31)).await;
    assert_eq!(receipt, Receipt::Acked);
    assert!(records(path).is_empty());
    assert_ne!(here.call(read(&truth, 31)).await, value);
}

#[tokio::test]
async fn invalid_settings_of_the_object_tier_are_refused() {
    let directory = Directory::new("objects");
    for (wrong, says) in [
        (
            objects(directory.path()).prefix(""),
            "of object storage is not valid",
        ),
        (
            objects(directory.path()).prefix("a/../b"),
            "of object storage is not valid",
        ),
        (
            objects(directory.path()).prefix("a b"),
            "of object storage is not valid",
        ),
        (
            objects(directory.path()).time_limit(Duration::ZERO),
            "time limit of object storage",
        ),
        (
            objects(directory.path()).max_record_bytes(0),
            "maximum record size of object storage",
        ),
        (
            objects(directory.path()).sweep_every(Duration::ZERO),
            "time between two sweeps",
        ),
    ] {
        let error = CacheRuntime::builder().l4(wrong).build().await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(says), "{error}");
    }
}
