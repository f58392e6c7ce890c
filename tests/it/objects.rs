//! The tier on object storage.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
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
use testbed::until;

static LOADS: AtomicU64 = AtomicU64::new(0);

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> (u64, u64) {
    (key, LOADS.fetch_add(1, Ordering::SeqCst))
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

fn objects(path: &Path) -> Objects {
    let files = Fs::default().root(&path.display().to_string());
    Objects::new(Operator::new(files).unwrap()).time_limit(Duration::from_secs(5))
}

async fn runtime(path: &Path) -> CacheRuntime {
    CacheRuntime::builder()
        .l1(Memory::builder())
        .l4(objects(path))
        .build()
        .await
        .unwrap()
}

/// All files under a directory.
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

async fn stored(runtime: &CacheRuntime, path: &Path, key: u64) -> (u64, u64) {
    let before = records(path).len();
    let value = on(runtime, read(key)).await;
    until("it is stored", || records(path).len() > before).await;
    value
}

#[tokio::test]
async fn what_was_stored_outlives_its_process_and_what_was_invalidated_does_not_come_back() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = runtime(path).await;
    let values = [stored(&first, path, 1).await, stored(&first, path, 2).await];
    let receipt = on(&first, async { invalidate!(read, 2).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    assert_eq!(records(path).len(), 1);
    first.shutdown().await.unwrap();
    let second = runtime(path).await;
    assert_eq!(on(&second, read(1)).await, values[0]);
    assert_ne!(on(&second, read(2)).await, values[1]);
    until("it is stored", || records(path).len() == 2).await;
    let receipt = on(&second, async { invalidate!(read).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    second.shutdown().await.unwrap();
    let third = runtime(path).await;
    assert_ne!(on(&third, read(1)).await, values[0]);
}

#[tokio::test]
async fn a_prefix_is_one_instances_at_a_time() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = runtime(path).await;
    let value = stored(&first, path, 3).await;
    let second = runtime(path).await;
    assert!(first.tiers()[0].health.connected && !second.tiers()[0].health.connected);
    assert_ne!(on(&second, read(3)).await, value, "it is not its own");
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
    let third = runtime(path).await;
    assert_eq!(on(&third, read(3)).await, value, "it is free");
}

/// A tier below cannot be used. This one has started by then, and hands on what it took.
#[tokio::test]
async fn a_build_that_fails_hands_on_what_was_stored() {
    let (directory, disks) = (
        Directory::new("handed-on"),
        Directory::new("handed-on-disk"),
    );
    let first = runtime(directory.path()).await;
    let value = stored(&first, directory.path(), 1).await;
    first.shutdown().await.unwrap();
    let disk = || Disk::new(disks.path());
    let holder = CacheRuntime::builder().l3(disk()).build().await.unwrap();
    let builder = CacheRuntime::builder().l2(objects(directory.path()));
    let error = builder.l3(disk()).build().await.unwrap_err();
    assert!(format!("{error:?}").contains("in use"), "{error:?}");
    let second = runtime(directory.path()).await;
    assert_eq!(on(&second, read(1)).await, value);
    second.shutdown().await.unwrap();
    holder.shutdown().await.unwrap();
}

/// Nobody knows what it had invalidated, and what it was writing.
#[tokio::test(start_paused = true)]
async fn what_a_killed_process_stored_does_not_count() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = runtime(path).await;
    let value = stored(&first, path, 40).await;
    drop(first);
    let second = runtime(path).await;
    assert!(!second.tiers()[0].health.connected, "it may be there still");
    // The test's own time: it has no more patience than a prefix has.
    tokio::time::sleep(Duration::from_secs(20)).await;
    until("nobody is", || second.tiers()[0].health.connected).await;
    assert_ne!(on(&second, read(40)).await, value);
}

/// Records of a function that was invalidated, one that is torn, and one that counts.
#[tokio::test]
async fn what_nobody_will_read_is_swept() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let runtime = CacheRuntime::builder()
        .l1(Memory::builder())
        .l4(objects(path).sweep_every(Duration::from_millis(200)))
        .build()
        .await
        .unwrap();
    for key in 41..45 {
        stored(&runtime, path, key).await;
    }
    fs::write(&records(path)[0], "torn").unwrap();
    let receipt = on(&runtime, async { invalidate!(read).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    let mine = path.join("mtc/records/00/mine");
    fs::create_dir_all(mine.parent().unwrap()).unwrap();
    fs::write(&mine, "").unwrap();
    let value = on(&runtime, read(45)).await;
    until("they are swept", || records(path).len() == 2).await;
    runtime.shutdown().await.unwrap();
    let next = self::runtime(path).await;
    assert_eq!(on(&next, read(45)).await, value);
    assert!(mine.exists());
}

#[tokio::test]
async fn who_waits_until_it_has_settled_waits_for_the_storage() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let runtime = runtime(path).await;
    stored(&runtime, path, 46).await;
    // A directory in its place, which is not empty, cannot be removed as a file.
    let object = records(path).remove(0);
    fs::remove_file(&object).unwrap();
    fs::create_dir_all(object.join("in/the/way")).unwrap();
    let mut settled = Box::pin(on(&runtime, async {
        invalidate!(read, 46).settled().await
    }));
    let early = tokio::time::timeout(Duration::from_millis(500), &mut settled).await;
    assert!(early.is_err(), "it is not done");
    assert_eq!(runtime.tiers()[0].health.queued, 1);
    fs::remove_dir_all(&object).unwrap();
    settled.await.unwrap();
    assert_eq!(runtime.tiers()[0].health.queued, 0);
}

/// It may land later: nothing that is under the same epoch counts any more.
#[tokio::test]
async fn a_write_that_fails_voids_its_function() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = runtime(path).await;
    let value = stored(&first, path, 4).await;
    let blocked: Vec<_> = (0..=u8::MAX)
        .map(|shard| path.join(format!("mtc/records/{shard:02x}")))
        .filter(|shard| !shard.exists())
        .collect();
    for shard in &blocked {
        fs::write(shard, "").unwrap();
    }
    for key in 5..20 {
        on(&first, read(key)).await;
    }
    until("they are refused", || refused(&first) > 0).await;
    for shard in &blocked {
        fs::remove_file(shard).unwrap();
    }
    until("it is void", || first.tiers()[0].health.queued == 0).await;
    first.shutdown().await.unwrap();
    let second = runtime(path).await;
    assert_ne!(on(&second, read(4)).await, value);
}

/// What the tier could not do.
fn refused(runtime: &CacheRuntime) -> u64 {
    let functions = runtime.stats().functions;
    let errors = functions
        .iter()
        .map(|function| function.tier(Level::L4).unwrap().tier_errors);
    errors.sum()
}

#[tokio::test]
async fn what_is_torn_is_loaded_again() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let first = runtime(path).await;
    let value = stored(&first, path, 30).await;
    first.shutdown().await.unwrap();
    let object = records(path).remove(0);
    let whole = fs::read(&object).unwrap();
    for length in [0, 7, 11, 20, whole.len() / 2, whole.len() - 1] {
        fs::write(&object, &whole[..length]).unwrap();
        let next = runtime(path).await;
        assert_ne!(on(&next, read(30)).await, value, "{length} bytes");
        next.shutdown().await.unwrap();
    }
    let _ = fs::remove_file(&object);
    fs::write(&object, &whole).unwrap();
    let next = runtime(path).await;
    assert_eq!(on(&next, read(30)).await, value);
}

#[tokio::test]
async fn it_answers_under_a_shared_tier_that_lost_it() {
    let directory = Directory::new("objects");
    let path = directory.path();
    let server = Server::start();
    let here = CacheRuntime::builder()
        .l2(Redis::new(server.url()))
        .tier(objects(path), TierConfig::as_l4())
        .build()
        .await
        .unwrap();
    let value = stored(&here, path, 31).await;
    until("it is in Redis", || server.records().len() == 1).await;
    let record = server.records().remove(0);
    let _: u64 = server.command(&["DEL", &record]);
    assert_eq!(on(&here, read(31)).await, value);
    let receipt = on(&here, async { invalidate!(read, 31).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Acked);
    assert!(records(path).is_empty());
    assert_ne!(on(&here, read(31)).await, value);
}

#[tokio::test]
async fn settings_that_cannot_be_are_errors() {
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
