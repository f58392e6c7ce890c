//! A process that uses a disk tier and is killed, or whose disk fails: the next process on the same
//! directory reads no stale value.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::convert::Infallible;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Disk, Function, Level, Tag, invalidate, multi_tier_cached};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testbed::directory::Directory;
use testbed::{Instance, until, until_ok};

/// Environment variable that tells a child process to run its part of a test, in this directory.
const CHILD: &str = "KILLED_TEST_DIRECTORY";

const KEYS: u64 = 32;

/// Current version of each key, of one test.
struct Versions([AtomicU64; KEYS as usize]);

impl Versions {
    fn new() -> Self {
        Self([const { AtomicU64::new(0) }; KEYS as usize])
    }

    fn get(&self, key: u64) -> u64 {
        self.0[key as usize].load(Ordering::SeqCst)
    }

    fn set(&self, key: u64, version: u64) {
        self.0[key as usize].store(version, Ordering::SeqCst);
    }
}

#[multi_tier_cached(ttl = "1h", tiers = "l3", name = "killed::read", skip(versions))]
async fn read(versions: &Versions, key: u64) -> (u64, u64) {
    (key, versions.get(key))
}

async fn instance(directory: &Path) -> Instance {
    let disk = Disk::new(directory.join("disk")).time_limit(Duration::from_secs(10));
    Instance::build(CacheRuntime::builder().l3(disk)).await
}

fn run(test: &str, directory: &Path) -> Child {
    // With the signal ignored, a write beyond the limit of the process is an error and does not end
    // it.
    Command::new("sh")
        .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture"])
        .env(CHILD, directory)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

fn child() -> Option<PathBuf> {
    std::env::var_os(CHILD).map(PathBuf::from)
}

/// Reports a step to the parent, in a line of its own: the test harness may have begun one.
fn report(step: &str) {
    println!("\n{step}");
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = child.stdout.take().unwrap();
    BufReader::new(output).lines().map_while(Result::ok)
}

/// Returns `true` if the child reports `what` before it ends.
fn has_reported(child: &mut Child, what: &str) -> bool {
    lines(child).filter(|line| line == what).count() > 0
}

/// Reads, changes and invalidates until the process is killed, and reports each invalidation that
/// is done as `key version`.
async fn invalidate_until_killed(directory: &Path) {
    let versions = Versions::new();
    let here = instance(directory).await;
    let mut version = 0;
    for round in 0_u64.. {
        let key = round.wrapping_mul(7) % KEYS;
        here.call(read(&versions, key)).await;
        version += 1;
        versions.set(key, version);
        here.invalidate(invalidate!(read, &versions, key)).await;
        here.call(read(&versions, key)).await;
        report(&format!("{key} {version}"));
    }
}

/// Runs a child that reports each invalidation as `key version`, kills it, and returns the last
/// version of each key that was invalidated.
fn invalidations_until_killed(
    test: &str,
    directory: &Path,
    round: u64,
) -> [Option<u64>; KEYS as usize] {
    let mut child = run(test, directory);
    let mut invalidated = [None; KEYS as usize];
    let mut reports = 0;
    for line in lines(&mut child) {
        let Some((key, version)) = line.split_once(' ') else {
            continue;
        };
        let (Ok(key), Ok(version)) = (key.parse::<usize>(), version.parse()) else {
            continue;
        };
        invalidated[key] = Some(version);
        reports += 1;
        // Each round kills the process after another number of invalidations.
        if reports == 150 + round * 37 {
            child.kill().unwrap();
        }
    }
    child.wait().unwrap();
    assert!(
        reports >= 150,
        "the process ended by itself after {reports} reports"
    );
    invalidated
}

#[tokio::test]
async fn process_after_a_killed_one_opens_its_directory_and_reads_nothing_stale() {
    let versions = Versions::new();
    if let Some(directory) = child() {
        return invalidate_until_killed(&directory).await;
    }
    let directory = Directory::new("killed");
    for round in 0_u64..6 {
        let test = "process_after_a_killed_one_opens_its_directory_and_reads_nothing_stale";
        let invalidated = invalidations_until_killed(test, directory.path(), round);
        let here = instance(directory.path()).await;
        for (key, version) in invalidated.into_iter().enumerate() {
            versions.set(key as u64, u64::MAX);
            let (read_key, read_version) = here.call(read(&versions, key as u64)).await;
            assert_eq!(read_key, key as u64);
            assert!(
                version.is_none_or(|version| read_version >= version),
                "version {read_version} of key {key} was read after {version:?} was invalidated"
            );
        }
        let hits = here.stats().functions[0].tier(Level::L3).unwrap().hits;
        assert!(hits > 0, "no record outlived the process\n{}", here.stats());
        here.invalidate(invalidate!(read)).await;
        here.shutdown().await.unwrap();
    }
}

/// A function whose values carry a tag of their key and one that all have.
fn tagged() -> Function<(u64, u64)> {
    Function::builder("killed::tagged")
        .ttl(Duration::from_secs(3_600))
        .tiers([Level::L3])
        .tags(["key:{0}", "all"])
        .build()
        .unwrap()
}

async fn read_tagged(
    here: &Instance,
    function: &Function<(u64, u64)>,
    versions: &Versions,
    key: u64,
) -> (u64, u64) {
    let load = || async { Ok::<_, Infallible>((key, versions.get(key))) };
    let Ok(read) = here.call(function.get_or_load((key,), load)).await;
    read
}

fn tag(key: u64) -> Tag {
    Tag::new(format!("key:{key}"))
}

/// Invalidates as [`invalidate_until_killed`] does, by the tag of each key.
async fn invalidate_tags_until_killed(directory: &Path) {
    let (versions, function) = (Versions::new(), tagged());
    let here = instance(directory).await;
    let mut version = 0;
    for round in 0_u64.. {
        let key = round.wrapping_mul(7) % KEYS;
        read_tagged(&here, &function, &versions, key).await;
        version += 1;
        versions.set(key, version);
        let receipt = here.invalidate(here.invalidate_tags([tag(key)])).await;
        assert_eq!(receipt, Receipt::Acked);
        read_tagged(&here, &function, &versions, key).await;
        report(&format!("{key} {version}"));
    }
}

#[tokio::test]
async fn tag_that_a_killed_process_invalidated_is_invalidated_in_the_next_one() {
    let test = "tag_that_a_killed_process_invalidated_is_invalidated_in_the_next_one";
    if let Some(directory) = child() {
        return invalidate_tags_until_killed(&directory).await;
    }
    let (versions, function) = (Versions::new(), tagged());
    let directory = Directory::new("killed");
    for round in 0..4 {
        let invalidated = invalidations_until_killed(test, directory.path(), round);
        let here = instance(directory.path()).await;
        for (key, version) in invalidated.into_iter().enumerate() {
            let key = key as u64;
            versions.set(key, u64::MAX);
            let (read_key, read_version) = read_tagged(&here, &function, &versions, key).await;
            assert_eq!(read_key, key);
            assert!(
                version.is_none_or(|version| read_version >= version),
                "version {read_version} of key {key} was read after {version:?} was invalidated"
            );
        }
        let hits = here.stats().functions[0].tier(Level::L3).unwrap().hits;
        assert!(hits > 0, "no record outlived the process\n{}", here.stats());
        // A number that the killed process had not written must not be given to a lease: a record
        // under it would look newer than an invalidation of this process.
        let receipt = here
            .invalidate(here.invalidate_tags([Tag::new("all")]))
            .await;
        assert_eq!(receipt, Receipt::Acked);
        for key in 0..KEYS {
            versions.set(key, 0);
            let (_, read_version) = read_tagged(&here, &function, &versions, key).await;
            assert_eq!(read_version, 0, "key {key}");
        }
        here.shutdown().await.unwrap();
    }
}

/// Makes every write to a file of this process fail, or lets files grow again.
fn set_files_may_grow(can: bool) {
    let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, if can { most } else { 1 }, most).unwrap();
}

/// Invalidates a key while the disk accepts no writes, so that the invalidation is queued.
async fn invalidate_on_a_full_disk(here: &Instance, versions: &Versions) {
    versions.set(1, 1);
    assert_eq!(here.call(read(versions, 1)).await, (1, 1));
    assert_eq!(here.call(read(versions, 1)).await, (1, 1));
    set_files_may_grow(false);
    versions.set(1, 2);
    let receipt = here.invalidate(invalidate!(read, versions, 1));
    assert_eq!(receipt.await, Receipt::Queued);
    assert_eq!(here.call(read(versions, 1)).await, (1, 2));
}

#[tokio::test]
async fn value_whose_invalidation_was_queued_when_its_process_died_is_not_read_afterwards() {
    let versions = Versions::new();
    if let Some(directory) = child() {
        let here = instance(&directory).await;
        invalidate_on_a_full_disk(&here, &versions).await;
        report("queued");
        // Ends the process without running any destructor, as `kill -9` does.
        std::process::abort();
    }
    let directory = Directory::new("killed");
    let test = "value_whose_invalidation_was_queued_when_its_process_died_is_not_read_afterwards";
    let mut child = run(test, directory.path());
    assert!(has_reported(&mut child, "queued"));
    child.wait().unwrap();
    versions.set(1, 3);
    let here = instance(directory.path()).await;
    assert_eq!(here.call(read(&versions, 1)).await, (1, 3));
    here.shutdown().await.unwrap();
}

#[tokio::test]
async fn disk_tier_stores_records_again_when_the_disk_accepts_writes_again() {
    let versions = Versions::new();
    if let Some(directory) = child() {
        let here = instance(&directory).await;
        invalidate_on_a_full_disk(&here, &versions).await;
        set_files_may_grow(true);
        until("the queued invalidation is done", || {
            here.tiers()[0].health.queued == 0
        })
        .await;
        until_ok("the tier stores records again", async || {
            here.call(read(&versions, 1)).await;
            let hits = here.stats().functions[0].tier(Level::L3).unwrap().hits;
            if hits > 1 { Ok(()) } else { Err(here.stats()) }
        })
        .await;
        here.shutdown().await.unwrap();
        report("recovered");
        return;
    }
    let directory = Directory::new("killed");
    let mut child = run(
        "disk_tier_stores_records_again_when_the_disk_accepts_writes_again",
        directory.path(),
    );
    assert!(has_reported(&mut child, "recovered"));
    child.wait().unwrap();
}

fn files_of(directory: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory).unwrap().flatten();
    entries
        .flat_map(|entry| match entry.path() {
            path if path.is_dir() => files_of(&path),
            path => vec![path],
        })
        .collect()
}

#[multi_tier_cached(ttl = "1h", tiers = "l3", name = "killed::square")]
async fn square(key: u64) -> (Vec<u8>, u64) {
    (vec![7; 3_000], key * key)
}

#[tokio::test]
async fn damaged_files_lose_records_but_neither_prevent_the_start_nor_return_wrong_values() {
    let directory = Directory::new("killed");
    let (whole, damaged) = (
        directory.path().join("whole"),
        directory.path().join("damaged"),
    );
    let here = instance(&whole).await;
    for key in 0..KEYS {
        here.call(square(key)).await;
    }
    here.shutdown().await.unwrap();
    type Harm = fn(&mut Vec<u8>);
    let harms: [Harm; 3] = [
        |bytes| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 0x55;
        },
        |bytes| bytes.truncate(bytes.len() * 2 / 3),
        Vec::clear,
    ];
    let files = files_of(&whole);
    assert!(files.len() > 3, "{files:?}");
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        if bytes.is_empty() {
            continue;
        }
        for harm in harms {
            let _ = std::fs::remove_dir_all(&damaged);
            let copied = Command::new("cp")
                .arg("-r")
                .args([&whole, &damaged])
                .status();
            assert!(copied.unwrap().success());
            let mut harmed = bytes.clone();
            harm(&mut harmed);
            let place = damaged.join(file.strip_prefix(&whole).unwrap());
            std::fs::write(&place, harmed).unwrap();
            let here = instance(&damaged).await;
            for key in 0..KEYS {
                let (_, squared) = here.call(square(key)).await;
                assert_eq!(squared, key * key, "{}", place.display());
            }
            let _ = here.shutdown().await;
        }
    }
}
