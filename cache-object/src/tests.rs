//! The tier on a service that fails as the test says, with paused time.

mod answers;
mod lives;

mod owners;
mod pending;
mod sweeps;
mod wakers;

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{
    FillResult, FunctionKey, Lease, LeaseMode, LeaseResult, ReadOptions, Receipt, RecordKey,
    Target, Tier,
};
use cache_core::{Error, ErrorKind};
use opendal::Operator;
use tokio::time::{Instant, sleep};

use crate::Objects;
use crate::faults::{Fault, Faults, Operation};
use crate::object::Header;
use crate::tier::ObjectTier;

const LIMIT: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(60 * 60);

/// A storage, and its faults.
struct Storage {
    faults: Faults,
    operator: Operator,
    /// An operator of the same storage without faults.
    sound: Operator,
}

impl Storage {
    fn new() -> Self {
        let faults = Faults::default();
        let (operator, sound) = faults.operators();
        Self {
            faults,
            operator,
            sound,
        }
    }

    /// Starts an instance.
    async fn tier(&self) -> Arc<ObjectTier> {
        let objects = Objects::new(self.operator.clone()).prefix("p");
        let tier = Arc::new(ObjectTier::new(objects));
        tier.start().await.unwrap();
        tier
    }

    /// Starts an instance, and waits until it holds the prefix.
    async fn owner(&self) -> Arc<ObjectTier> {
        let tier = self.tier().await;
        until("the instance holds the prefix", || tier.health().connected).await;
        tier
    }

    /// Returns the record of a key, if it is valid.
    async fn valid(&self, tier: &ObjectTier, key: &RecordKey) -> Option<Vec<u8>> {
        let found = read(tier, key).await.unwrap();
        let record = found?;
        let object = self.sound.read(&tier.prefix().store.path(key)).await;
        let header = Header::parse(&object.unwrap().to_vec()).unwrap();
        let stamp = tier.prefix().store.epochs.stamp(&key.function);
        (header.stamp == stamp).then_some(record)
    }

    async fn has(&self, tier: &ObjectTier, key: &RecordKey) -> bool {
        let path = tier.prefix().store.path(key);
        self.sound.exists(&path).await.unwrap()
    }

    fn breaks(&self, operation: Operation, path: &str, fault: Fault) {
        self.faults.set(operation, path, fault);
    }
}

fn key(function: &str, number: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new(function, 1));
    RecordKey::new(function, number.to_string(), number)
}

async fn read(tier: &ObjectTier, key: &RecordKey) -> Result<Option<Vec<u8>>, Error> {
    let found = tier.read(key, ReadOptions::default(), LIMIT).await?;
    Ok(found.record)
}

async fn lease(tier: &ObjectTier, key: &RecordKey) -> Lease {
    match tier
        .lease(key, LeaseMode::Preempt, &[], LIMIT)
        .await
        .unwrap()
    {
        LeaseResult::Granted(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn try_fill(tier: &ObjectTier, key: &RecordKey, record: &[u8]) -> Result<FillResult, Error> {
    let lease = lease(tier, key).await;
    tier.fill(key, &lease, record.to_vec(), HOUR, LIMIT).await
}

async fn fill(tier: &ObjectTier, key: &RecordKey, record: &[u8]) {
    assert_eq!(
        try_fill(tier, key, record).await.unwrap(),
        FillResult::Stored
    );
}

async fn invalidate(tier: &ObjectTier, target: Target<'_>) -> Receipt {
    tier.invalidate(target, LIMIT).await.unwrap()
}

/// Waits for a condition, by the paused clock, which advances only when all tasks are idle.
async fn until(what: &str, is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(
            began.elapsed() < Duration::from_secs(120),
            "not yet: {what}"
        );
        sleep(Duration::from_millis(10)).await;
    }
}
