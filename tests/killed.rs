//! A process that uses a disk and is killed, or whose disk fails: what the next one finds there is right.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Disk, Level, invalidate, multi_tier_cached};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use testbed::directory::Directory;
use testbed::{until, until_ok};

/// Set for a process that is to die: its directory.
const CHILD: &str = "KILLED_TEST_DIRECTORY";

const KEYS: u64 = 32;

/// What is true, by key; the process that is killed keeps it in files, each written before its invalidation begins.
static TRUTH: [AtomicU64; KEYS as usize] = [const { AtomicU64::new(0) }; KEYS as usize];

#[multi_tier_cached(ttl = "1h", tiers = "l3", name = "killed::read")]
async fn read(key: u64) -> (u64, u64) {
    (key, TRUTH[key as usize].load(Ordering::SeqCst))
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

async fn runtime(directory: &Path) -> CacheRuntime {
    let disk = Disk::new(directory.join("disk")).time_limit(Duration::from_secs(10));
    CacheRuntime::builder().l3(disk).build().await.unwrap()
}

fn run(test: &str, directory: &Path) -> Child {
    // A write beyond the limit of a process is an error then, not its end.
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

/// Says how far it is, in a line of its own: the harness may have begun one.
fn say(what: &str) {
    println!("\n{what}");
}

fn lines(child: &mut Child) -> impl Iterator<Item = String> + use<> {
    let output = child.stdout.take().unwrap();
    BufReader::new(output).lines().map_while(Result::ok)
}

/// Whether it says so before its end.
fn says(child: &mut Child, what: &str) -> bool {
    lines(child).filter(|line| line == what).count() > 0
}

/// Reads, changes and invalidates until it is killed, and says what it has invalidated: `key version`.
async fn live(directory: &Path) {
    let here = runtime(directory).await;
    let mut version = 0;
    for round in 0_u64.. {
        let key = round.wrapping_mul(7) % KEYS;
        on(&here, read(key)).await;
        version += 1;
        TRUTH[key as usize].store(version, Ordering::SeqCst);
        on(&here, async { invalidate!(read, key).await.unwrap() }).await;
        on(&here, read(key)).await;
        say(&format!("{key} {version}"));
    }
}

#[tokio::test]
async fn whenever_it_is_killed_nothing_old_is_read_and_it_opens() {
    if let Some(directory) = child() {
        return live(&directory).await;
    }
    let directory = Directory::new("killed");
    for round in 0..6 {
        let mut child = run(
            "whenever_it_is_killed_nothing_old_is_read_and_it_opens",
            directory.path(),
        );
        let mut invalidated = [None::<u64>; KEYS as usize];
        let mut heard = 0;
        for line in lines(&mut child) {
            let Some((key, version)) = line.split_once(' ') else {
                continue;
            };
            let (Ok(key), Ok(version)) = (key.parse::<usize>(), version.parse()) else {
                continue;
            };
            invalidated[key] = Some(version);
            heard += 1;
            // At another place each time.
            if heard == 150 + round * 37 {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(heard >= 150, "it ended by itself, after {heard}");
        let here = runtime(directory.path()).await;
        for (key, version) in invalidated.into_iter().enumerate() {
            TRUTH[key].store(u64::MAX, Ordering::SeqCst);
            let (read_key, read_version) = on(&here, read(key as u64)).await;
            assert_eq!(read_key, key as u64);
            assert!(
                version.is_none_or(|version| read_version >= version),
                "{read_version} was read, and {version:?} invalidated"
            );
        }
        let hits = here.stats().functions[0].tier(Level::L3).unwrap().hits;
        assert!(hits > 0, "nothing outlived it");
        on(&here, async { invalidate!(read).await.unwrap() }).await;
        here.shutdown().await.unwrap();
    }
}

/// Lets no file of this process grow, or lets them grow again.
fn let_files_grow(can: bool) {
    let (_, most) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, if can { most } else { 1 }, most).unwrap();
}

async fn queued_on_a_disk_that_takes_nothing(here: &CacheRuntime) {
    TRUTH[1].store(1, Ordering::SeqCst);
    assert_eq!(on(here, read(1)).await, (1, 1));
    assert_eq!(on(here, read(1)).await, (1, 1));
    let_files_grow(false);
    TRUTH[1].store(2, Ordering::SeqCst);
    let receipt = on(here, async { invalidate!(read, 1).await });
    assert_eq!(receipt.await.unwrap(), Receipt::Queued);
    assert_eq!(on(here, read(1)).await, (1, 2));
}

#[tokio::test]
async fn what_was_owed_at_its_end_does_not_come_back() {
    if let Some(directory) = child() {
        let here = runtime(&directory).await;
        queued_on_a_disk_that_takes_nothing(&here).await;
        say("owed");
        // As `kill -9` would.
        std::process::abort();
    }
    let directory = Directory::new("killed");
    let test = "what_was_owed_at_its_end_does_not_come_back";
    let mut child = run(test, directory.path());
    assert!(says(&mut child, "owed"));
    child.wait().unwrap();
    TRUTH[1].store(3, Ordering::SeqCst);
    let here = runtime(directory.path()).await;
    assert_eq!(on(&here, read(1)).await, (1, 3));
    here.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_disk_that_failed_is_used_again() {
    if let Some(directory) = child() {
        let here = runtime(&directory).await;
        queued_on_a_disk_that_takes_nothing(&here).await;
        let_files_grow(true);
        until("it is told", || here.tiers()[0].health.queued == 0).await;
        until_ok("it takes records again", async || {
            on(&here, read(1)).await;
            let hits = here.stats().functions[0].tier(Level::L3).unwrap().hits;
            if hits > 1 { Ok(()) } else { Err("no hit") }
        })
        .await;
        here.shutdown().await.unwrap();
        say("well");
        return;
    }
    let directory = Directory::new("killed");
    let mut child = run("a_disk_that_failed_is_used_again", directory.path());
    assert!(says(&mut child, "well"));
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
async fn damaged_files_cost_records_and_no_start() {
    let directory = Directory::new("killed");
    let (whole, damaged) = (
        directory.path().join("whole"),
        directory.path().join("damaged"),
    );
    let here = runtime(&whole).await;
    for key in 0..KEYS {
        on(&here, square(key)).await;
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
            let here = runtime(&damaged).await;
            for key in 0..KEYS {
                let (_, squared) = on(&here, square(key)).await;
                assert_eq!(squared, key * key, "{}", place.display());
            }
            let _ = here.shutdown().await;
        }
    }
}
