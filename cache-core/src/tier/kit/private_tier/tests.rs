use std::collections::HashMap;

use super::*;
use crate::tier::lease::LeaseResult;

const LIMIT: Duration = Duration::from_secs(1);

/// A store whose operations fail or hang as the test says.
#[derive(Debug, Default)]
struct Store {
    records: Mutex<HashMap<String, Vec<u8>>>,
    is_failing: AtomicBool,
    hangs: AtomicBool,
    /// Fails each time.
    failing_key: Mutex<Option<String>>,
    /// Uses Tokio, as a store on its file system or network does.
    uses_tokio: AtomicBool,
}

impl Store {
    async fn check(&self) -> Result<(), Error> {
        if self.hangs.load(Ordering::SeqCst) {
            std::future::pending::<()>().await;
        }
        match self.is_failing.load(Ordering::SeqCst) {
            true => Err(Error::new(ErrorKind::Unavailable, "the store fails")),
            false => Ok(()),
        }
    }

    async fn use_tokio(&self) {
        if self.uses_tokio.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

impl RecordStore for Store {
    async fn get(&self, key: &str) -> Result<Option<Vec<u8>>, Error> {
        Ok(lock(&self.records).get(key).cloned())
    }

    /// Stores the record also if it fails or hangs.
    async fn put(&self, key: &str, record: Vec<u8>, _: Duration) -> Result<(), Error> {
        lock(&self.records).insert(key.to_owned(), record);
        self.check().await
    }

    async fn delete(&self, key: &str) -> Result<(), Error> {
        self.check().await?;
        self.use_tokio().await;
        if lock(&self.failing_key).as_deref() == Some(key) {
            return Err(Error::new(ErrorKind::Unavailable, "the key fails"));
        }
        lock(&self.records).remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), Error> {
        self.check().await?;
        self.use_tokio().await;
        lock(&self.records).clear();
        Ok(())
    }
}

fn tier() -> PrivateTier<Store> {
    PrivateTier::new(TierSettings::new("test", LIMIT), Store::default())
}

fn key(number: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new("f", 1));
    RecordKey::new(function, number.to_string(), number)
}

async fn fill(tier: &PrivateTier<Store>, key: &RecordKey) -> Result<FillResult, Error> {
    let leased = tier.lease(key, LeaseMode::Preempt, &[], LIMIT).await?;
    let LeaseResult::Granted(lease) = leased else {
        panic!("{leased:?}");
    };
    tier.fill(key, &lease, b"record".to_vec(), LIMIT, LIMIT)
        .await
}

/// Returns whether the key has a record, and the epoch of a valid one.
async fn read(tier: &PrivateTier<Store>, key: &RecordKey) -> (bool, u64) {
    let found = tier.read(key, ReadOptions::default(), LIMIT).await.unwrap();
    (found.record.is_some(), found.stamp.unwrap().epoch)
}

#[tokio::test(start_paused = true)]
async fn key_is_a_miss_until_its_failed_invalidation_is_done_by_the_next_lease() {
    for hangs in [false, true] {
        let (tier, key) = (tier(), key(1));
        assert_eq!(fill(&tier, &key).await.unwrap(), FillResult::Stored);
        let fault = match hangs {
            true => &tier.store().hangs,
            false => &tier.store().is_failing,
        };
        fault.store(true, Ordering::SeqCst);
        let receipt = tier.invalidate(Target::Key(&key), LIMIT).await;
        assert_eq!(receipt.unwrap(), Receipt::Queued);
        assert!(tier.is_pending(&key) && tier.health().queued == 1);
        assert!(!read(&tier, &key).await.0);
        let refused = tier.lease(&key, LeaseMode::Preempt, &[], LIMIT).await;
        assert!(refused.is_err());
        fault.store(false, Ordering::SeqCst);
        assert_eq!(fill(&tier, &key).await.unwrap(), FillResult::Stored);
        assert!(!tier.is_pending(&key) && read(&tier, &key).await.0);
    }
}

#[tokio::test(start_paused = true)]
async fn request_that_waits_is_held_if_the_key_was_filled_since_the_read() {
    let (tier, key) = (tier(), key(1));
    assert_eq!(fill(&tier, &key).await.unwrap(), FillResult::Stored);
    for mode in [LeaseMode::Exclusive, LeaseMode::Refresh] {
        let leased = tier.lease(&key, mode, b"older", LIMIT).await.unwrap();
        assert!(matches!(leased, LeaseResult::Held(_)), "{leased:?}");
        let leased = tier.lease(&key, mode, b"record", LIMIT).await.unwrap();
        assert!(matches!(leased, LeaseResult::Granted(_)), "{leased:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fill_with_an_unknown_result_voids_its_function() {
    let (tier, other) = (tier(), key(2));
    assert_eq!(fill(&tier, &other).await.unwrap(), FillResult::Stored);
    for hangs in [false, true] {
        let before = read(&tier, &other).await.1;
        let fault = match hangs {
            true => &tier.store().hangs,
            false => &tier.store().is_failing,
        };
        fault.store(true, Ordering::SeqCst);
        fill(&tier, &key(1)).await.unwrap_err();
        fault.store(false, Ordering::SeqCst);
        assert_ne!(read(&tier, &other).await.1, before, "hangs: {hangs}");
    }
}

#[tokio::test]
async fn invalidation_without_a_wait_is_done_at_once_if_the_store_does_not_wait() {
    let (tier, key) = (tier(), key(1));
    fill(&tier, &key).await.unwrap();
    tier.invalidate_later(Target::Key(&key));
    assert!(!tier.is_pending(&key) && lock(&tier.store().records).is_empty());
    fill(&tier, &key).await.unwrap();
    tier.store().hangs.store(true, Ordering::SeqCst);
    tier.invalidate_later(Target::Key(&key));
    assert!(tier.is_pending(&key) && !read(&tier, &key).await.0);
    tier.store().hangs.store(false, Ordering::SeqCst);
    tier.settle().await.unwrap();
    assert!(!tier.is_pending(&key) && lock(&tier.store().records).is_empty());
}

#[tokio::test]
async fn function_in_place_of_too_many_failed_keys_is_invalidated_by_the_next_lease() {
    let tier = tier();
    tier.store().is_failing.store(true, Ordering::SeqCst);
    for number in 0..=1 << 16 {
        let receipt = tier.invalidate(Target::Key(&key(number)), LIMIT).await;
        assert_eq!(receipt.unwrap(), Receipt::Queued);
    }
    assert_eq!(tier.health().queued, 1, "the function in place of its keys");
    let other = key(u64::MAX);
    assert!(tier.is_pending(&other));
    // Void records of the function are not valid, so the store need not be reachable.
    let leased = tier.lease(&other, LeaseMode::Preempt, &[], LIMIT).await;
    assert!(matches!(leased, Ok(LeaseResult::Granted(_))), "{leased:?}");
    assert_eq!(tier.health().queued, 0);
}

#[tokio::test]
async fn everything_that_is_pending_is_voided_by_the_next_lease_and_cleared_by_settle() {
    let (tier, key) = (tier(), key(1));
    let before = read(&tier, &key).await.1;
    fill(&tier, &key).await.unwrap();
    tier.inner.state.begin_invalidation(Target::All);
    let leased = tier.lease(&key, LeaseMode::Preempt, &[], LIMIT).await;
    assert!(matches!(leased, Ok(LeaseResult::Granted(_))), "{leased:?}");
    assert_ne!(read(&tier, &key).await.1, before);
    tier.settle().await.unwrap();
    assert!(lock(&tier.store().records).is_empty());
}

#[tokio::test]
async fn settle_does_every_invalidation_but_the_one_that_fails() {
    let (tier, failing) = (tier(), key(0));
    *lock(&tier.store().failing_key) = Some(failing.name());
    for number in 0..8 {
        tier.inner
            .state
            .begin_invalidation(Target::Key(&key(number)));
    }
    let error = tier.settle().await.unwrap_err();
    assert_eq!(error.to_string(), "the key fails");
    assert!(tier.is_pending(&failing) && tier.health().queued == 1);
}

/// A drop outside of Tokio must not poll a store that uses Tokio, because it would panic.
#[tokio::test]
async fn invalidation_in_a_drop_outside_of_tokio_is_done_by_the_task_of_the_tier() {
    let tier = Arc::new(tier());
    let [guarded, later] = [key(1), key(2)];
    fill(&tier, &guarded).await.unwrap();
    fill(&tier, &later).await.unwrap();
    let guard = tier.guard(&guarded, LIMIT).await.unwrap();
    tier.store().uses_tokio.store(true, Ordering::SeqCst);
    tier.start().await.unwrap();
    let (there, target) = (Arc::clone(&tier), later.clone());
    let dropped = std::thread::spawn(move || {
        drop(guard);
        there.invalidate_later(Target::Key(&target));
    });
    dropped.join().expect("the drops do not panic");
    assert!(tier.is_pending(&guarded) && tier.is_pending(&later));
    tokio::time::timeout(LIMIT, tier.inner.state.pending().wait_empty())
        .await
        .expect("the task of the tier does what is pending")
        .unwrap();
    assert!(lock(&tier.store().records).is_empty());
}

#[tokio::test]
async fn function_is_void_after_a_drop_outside_of_tokio() {
    let (tier, key) = (Arc::new(tier()), key(1));
    tier.store().uses_tokio.store(true, Ordering::SeqCst);
    for is_all in [false, true] {
        let before = read(&tier, &key).await.1;
        let (there, function) = (Arc::clone(&tier), Arc::clone(&key.function));
        let dropped = std::thread::spawn(move || match is_all {
            true => there.invalidate_later(Target::All),
            false => there.invalidate_later(Target::Function(&function)),
        });
        dropped.join().expect("the drop does not panic");
        assert!(!tier.is_pending(&key), "it needs no store");
        assert_ne!(read(&tier, &key).await.1, before);
    }
}

#[tokio::test]
async fn dropped_tier_aborts_its_task() {
    let tier = tier();
    tier.start().await.unwrap();
    let inner = Arc::downgrade(&tier.inner);
    drop(tier);
    let ended = async {
        while inner.strong_count() > 0 {
            tokio::task::yield_now().await;
        }
    };
    let ended = tokio::time::timeout(LIMIT, ended).await;
    ended.expect("the task has dropped the tier");
}

#[tokio::test]
async fn operation_after_the_shutdown_fails() {
    let (tier, key) = (tier(), key(1));
    tier.shutdown().await.unwrap();
    let read = tier.read(&key, ReadOptions::default(), LIMIT).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
    let invalidated = tier.invalidate(Target::All, LIMIT).await;
    assert_eq!(invalidated.unwrap_err().kind(), ErrorKind::Unavailable);
}
