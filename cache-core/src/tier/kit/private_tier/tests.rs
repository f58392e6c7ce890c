use std::collections::HashMap;
use std::sync::Mutex as StdMutex;

use super::*;
use crate::tier::kit::lock;
use crate::tier::lease::LeaseResult;

const LIMIT: Duration = Duration::from_secs(1);

/// A store whose operations fail or hang as the test says.
#[derive(Debug, Default)]
struct Store {
    records: StdMutex<HashMap<String, Vec<u8>>>,
    is_failing: AtomicBool,
    hangs: AtomicBool,
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
        lock(&self.records).remove(key);
        Ok(())
    }

    async fn clear(&self) -> Result<(), Error> {
        self.check().await?;
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
async fn operation_after_the_shutdown_fails() {
    let (tier, key) = (tier(), key(1));
    tier.shutdown().await.unwrap();
    let read = tier.read(&key, ReadOptions::default(), LIMIT).await;
    assert_eq!(read.unwrap_err().kind(), ErrorKind::Unavailable);
    let invalidated = tier.invalidate(Target::All, LIMIT).await;
    assert_eq!(invalidated.unwrap_err().kind(), ErrorKind::Unavailable);
}
