use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use cache_core::tier::{FunctionKey, Marks, MarksState};

use super::*;

const SOON: Duration = Duration::from_secs(5);

struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("mtc-disk-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        Self(path)
    }

    async fn tier(&self) -> DiskTier {
        // A shutdown waits for the store as long as this. A busy machine needs more than the
        // default.
        let tier = DiskTier::new(Disk::new(&self.0).time_limit(SOON));
        tier.start().await.unwrap();
        tier
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn key(number: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new("f", 1));
    RecordKey::new(function, number.to_string(), number)
}

async fn fill(tier: &DiskTier, number: u64, record: &[u8]) -> Result<Lease, Error> {
    let key = key(number);
    let LeaseResult::Granted(lease) = tier.lease(&key, LeaseMode::Preempt, &[], SOON).await? else {
        panic!("the lease was not granted");
    };
    let filled = tier.fill(&key, &lease, record.to_vec(), SOON * 60, SOON);
    assert_eq!(filled.await?, FillResult::Stored);
    Ok(lease)
}

/// Returns the record of a key.
async fn read(tier: &DiskTier, number: u64) -> Result<Option<Vec<u8>>, Error> {
    let found = tier
        .read(&key(number), ReadOptions::default(), SOON)
        .await?;
    Ok(found.record)
}

#[tokio::test]
async fn inspection_leaves_a_record_in_the_older_generation_and_a_read_copies_it() {
    let directory = Directory::new("inspected");
    let tier = directory.tier().await;
    fill(&tier, 1, b"record").await.unwrap();
    let store = tier.running().unwrap().maintenance.store().unwrap();
    let generations = store.generations();
    generations.rotate_now().unwrap();
    let state = || {
        let found = generations.get(&key(1).name()).unwrap().unwrap();
        (found, generations.written())
    };
    let before = state();
    assert_eq!(before, ((b"record".to_vec(), true), 0));
    let seen = tier.inspect(&key(1), SOON).await.unwrap();
    assert_eq!(seen.record.as_deref(), Some(&b"record"[..]));
    assert_eq!(state(), before);
    read(&tier, 1).await.unwrap();
    let ((_, is_older), written) = state();
    assert!(!is_older && written > 0, "a read copies the record");
    drop(store);
    tier.shutdown().await.unwrap();
}

/// Waits until the store was discarded: its history is another one than `old`.
async fn until_discarded(tier: &DiskTier, old: u64) {
    let ended = Instant::now() + SOON * 4;
    loop {
        let found = tier.read(&key(0), ReadOptions::default(), SOON).await;
        let stamp = found.ok().and_then(|found| found.stamp);
        if stamp.is_some_and(|stamp| stamp.history != old) {
            return;
        }
        assert!(Instant::now() < ended, "the store was not discarded");
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn invalidation_that_is_pending_at_the_end_is_known_to_the_next_process() {
    let directory = Directory::new("end");
    let tier = directory.tier().await;
    let lease = fill(&tier, 1, b"old").await.unwrap();
    let running = tier.running().unwrap();
    running.maintenance.end();
    let thread = lock(&running.maintenance_thread).take().unwrap();
    thread.join().unwrap();
    running.maintenance.begin_invalidation(Target::Key(&key(1)));
    drop(running);
    assert!(tier.shutdown().await.is_err(), "an invalidation is pending");
    let next = directory.tier().await;
    let found = next
        .read(&key(1), ReadOptions::default(), SOON)
        .await
        .unwrap();
    assert!(found.record.is_none() || found.stamp != Some(lease.stamp));
    next.shutdown().await.unwrap();
}

#[tokio::test]
async fn shutdown_that_was_dropped_can_be_repeated() {
    let directory = Directory::new("twice");
    let tier = directory.tier().await;
    // The maintenance thread does not know of it, so the shutdown waits.
    let running = tier.running().unwrap();
    running.maintenance.state.pending().add(Target::All);
    drop(running);
    let given_up = timeout(Duration::ZERO, tier.shutdown()).await;
    given_up.unwrap_err();
    tier.invalidate(Target::All, SOON).await.unwrap();
    tier.shutdown().await.unwrap();
    directory.tier().await.shutdown().await.unwrap();
}

#[tokio::test]
async fn damaged_store_is_discarded_and_used_again() {
    let directory = Directory::new("rot");
    let tier = directory.tier().await;
    // Enough records for the database to write sorted files.
    let record: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..))
        .take(64 << 10)
        .collect();
    for number in 0..400 {
        fill(&tier, number, &record).await.unwrap();
    }
    tier.shutdown().await.unwrap();
    let tier = directory.tier().await;
    let old = tier
        .read(&key(0), ReadOptions::default(), SOON)
        .await
        .unwrap();
    assert_eq!(old.record.as_deref(), Some(&record[..]));
    assert!(
        rot(&directory.0.join("records/keyspaces")) > 0,
        "the database has written no sorted file yet"
    );
    let mut failures = 0;
    for number in 0..400 {
        match read(&tier, number).await {
            Ok(Some(read)) => assert_eq!(read, record),
            Ok(None) => {}
            Err(_) => failures += 1,
        }
    }
    assert!(failures > 0, "no damaged record was read");
    until_discarded(&tier, old.stamp.unwrap().history).await;
    for number in 0..400 {
        assert_eq!(
            read(&tier, number).await.unwrap(),
            None,
            "{number} is still there"
        );
    }
    fill(&tier, 0, b"new").await.unwrap();
    assert_eq!(read(&tier, 0).await.unwrap().as_deref(), Some(&b"new"[..]));
    tier.shutdown().await.unwrap();
}

const TAG: u64 = 50;

/// A key of a marked function, and marks of its record under a lease that is taken now.
async fn leased(tier: &DiskTier, number: u64) -> (RecordKey, Lease, Marks<'static>) {
    let function = Arc::new(FunctionKey::new("g", 1).marked(true));
    let key = RecordKey::new(function, number.to_string(), number);
    let leased = tier.lease(&key, LeaseMode::Exclusive, &[], SOON).await;
    let LeaseResult::Granted(lease) = leased.unwrap() else {
        panic!("the lease was not granted");
    };
    let marks = Marks {
        mark: lease.mark.expect("a marked function"),
        tags: &[TAG],
        key: number,
        function: key.function.digest,
    };
    (key, lease, marks)
}

/// A store that cannot be used until it is dropped.
struct Blocked {
    running: Arc<Running>,
    /// The store cannot be opened again while this database is open.
    _database: fjall::Database,
}

impl Blocked {
    fn new(tier: &DiskTier, directory: &Directory) -> Self {
        let running = tier.running().unwrap();
        drop(running.maintenance.close());
        let records = directory.0.join("records");
        Self {
            running,
            _database: fjall::Database::builder(&records).open().unwrap(),
        }
    }
}

#[tokio::test]
async fn queued_tags_and_expiries_are_in_force_before_and_after_they_are_written() {
    let directory = Directory::new("tags");
    let tier = directory.tier().await;
    let (key, lease, tagged) = leased(&tier, 1).await;
    let (expired_key, _, mut expired) = leased(&tier, 2).await;
    expired.tags = &[];
    let (_, _, spared) = leased(&tier, 3).await;
    let spared = Marks {
        tags: &[TAG + 1],
        ..spared
    };
    let ledger = tier.ledger().unwrap();
    let blocked = Blocked::new(&tier, &directory);
    let tags = tier.invalidate_tags(&[TAG], SOON).await;
    let expiry = tier.expire(Expiry::Key(&expired_key), SOON).await;
    assert_eq!(
        (tags.unwrap(), expiry.unwrap()),
        (Receipt::Queued, Receipt::Queued)
    );
    assert!(blocked.running.maintenance.marker().is_dirty());
    assert!(ledger.is_pending(&[7, TAG]) && !ledger.is_pending(&[7]));
    assert_eq!(tier.health().queued, 2);
    let check = || {
        assert_eq!(ledger.state(tagged), Some(MarksState::Invalidated));
        assert_eq!(ledger.state(expired), Some(MarksState::Expired));
        assert_eq!(ledger.state(spared), Some(MarksState::Valid));
    };
    check();
    drop(blocked);
    tier.settle().await.unwrap();
    assert!(!ledger.is_pending(&[TAG]));
    check();
    let record = b"loaded before the tag was invalidated".to_vec();
    let filled = tier.fill(&key, &lease, record, SOON, SOON).await;
    assert_eq!(filled.unwrap(), FillResult::Stored);
    check();
    assert_ne!(leased(&tier, 4).await.2.mark, tagged.mark);
    tier.shutdown().await.unwrap();
}

#[tokio::test]
async fn queued_tag_of_a_process_that_ended_is_known_to_the_next_one() {
    let directory = Directory::new("queued-tag");
    let tier = directory.tier().await;
    let (key, lease, _) = leased(&tier, 1).await;
    let filled = tier.fill(&key, &lease, b"old".to_vec(), SOON * 60, SOON);
    assert_eq!(filled.await.unwrap(), FillResult::Stored);
    let blocked = Blocked::new(&tier, &directory);
    let queued = tier.invalidate_tags(&[TAG], SOON).await;
    assert_eq!(queued.unwrap(), Receipt::Queued);
    let running = Arc::clone(&blocked.running);
    // The process ends before the store can be used again.
    running.maintenance.end();
    let thread = lock(&running.maintenance_thread).take().unwrap();
    thread.join().unwrap();
    drop((running, blocked));
    assert!(tier.shutdown().await.is_err(), "a tag is pending");
    let next = directory.tier().await;
    let found = next.read(&key, ReadOptions::default(), SOON).await.unwrap();
    assert!(found.record.is_none() || found.stamp != Some(lease.stamp));
    next.shutdown().await.unwrap();
}

/// If neither the records nor the marker can be written, the next process cannot know of the
/// invalidation.
#[tokio::test]
async fn invalidation_fails_if_neither_store_nor_marker_can_be_written() {
    let directory = Directory::new("nowhere");
    let tier = directory.tier().await;
    fill(&tier, 1, b"old").await.unwrap();
    let running = tier.running().unwrap();
    drop(running.maintenance.close());
    // The store cannot be opened again while this database is open.
    let records = directory.0.join("records");
    let other = fjall::Database::builder(&records).open().unwrap();
    let (first, second) = (key(1), key(2));
    let queued = tier.invalidate(Target::Key(&first), SOON).await;
    assert_eq!(queued.unwrap(), Receipt::Queued);
    assert!(running.maintenance.marker().is_dirty());
    running.maintenance.marker().clear_if(|| true).unwrap();
    running.maintenance.marker().forbid_writing(&directory.0);
    let failed = tier.invalidate(Target::Key(&second), SOON).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::TimedOut);
    let failed = tier.invalidate(Target::Key(&second), Duration::ZERO).await;
    assert_eq!(failed.unwrap_err().kind(), ErrorKind::TimedOut);
    drop((running, other));
    let ended = tier.shutdown().await;
    // The store may be open again, and the shutdown succeed.
    if let Err(error) = ended {
        assert!(
            error
                .to_string()
                .contains("the marker could not be written either"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn store_that_is_half_created_or_half_removed_is_discarded() {
    let directory = Directory::new("half");
    let records = directory.0.join("records");
    for missing in ["version", "keyspaces"] {
        let tier = directory.tier().await;
        fill(&tier, 1, b"old").await.unwrap();
        tier.shutdown().await.unwrap();
        let missing = records.join(missing);
        let removed = match missing.is_dir() {
            true => fs::remove_dir_all(&missing),
            false => fs::remove_file(&missing),
        };
        removed.unwrap();
        fs::create_dir_all(
            directory
                .0
                .join("dropped/by a process that ended too early"),
        )
        .unwrap();
        let tier = directory.tier().await;
        assert_eq!(read(&tier, 1).await.unwrap(), None, "{}", missing.display());
        fill(&tier, 1, b"new").await.unwrap();
        assert_eq!(read(&tier, 1).await.unwrap().as_deref(), Some(&b"new"[..]));
        tier.shutdown().await.unwrap();
        assert!(!directory.0.join("dropped").exists());
    }
}

#[tokio::test]
async fn tier_without_sweeps_does_invalidations() {
    let directory = Directory::new("never");
    let tier = DiskTier::new(Disk::new(&directory.0).sweep_every(Duration::MAX));
    tier.start().await.unwrap();
    let done = tier.invalidate(Target::All, SOON).await;
    assert_eq!(done.unwrap(), Receipt::Acked);
    tier.shutdown().await.unwrap();
}

/// Damages the first half of every sorted file, and returns the number of the files.
fn rot(directory: &Path) -> usize {
    let mut rotten = 0;
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rotten += rot(&path);
        } else if path
            .parent()
            .is_some_and(|parent| parent.ends_with("tables"))
        {
            use std::os::unix::fs::FileExt;
            let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
            let end = file.metadata().unwrap().len() / 2;
            for at in (0..end).step_by(512) {
                file.write_all_at(b"rot", at).unwrap();
            }
            rotten += 1;
        }
    }
    rotten
}
