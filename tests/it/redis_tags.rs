//! The ledger of tags in Redis, as the runtime uses it through the contract of a tier: a record is
//! valid if no tag of it was invalidated since its load began, whatever is evicted, lost or done at
//! the same time.

mod calls;
mod cost;
mod eviction;
mod faults;
mod journal;
mod losses;
mod rules;

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::tier::{
    Expiry, FillResult, FunctionKey, LeaseMode, LeaseResult, Ledger, Mark, Marks, MarksState,
    Peers, ReadOptions, Receipt, RecordKey, Tier, TierBuilder, TierContext,
};
use multi_tier_cached::{Level, Redis};
use testbed::server::Server;
use testbed::{until, until_ok};
use tokio::time::sleep;

/// Longer than any operation takes on a server that works.
const SOON: Duration = Duration::from_secs(10);

const HOUR: Duration = Duration::from_secs(3_600);

/// The bytes before the content of a record.
const HEADER: usize = 84;

/// The Redis tiers of one instance, one for each shard.
struct Cache(Vec<Arc<dyn Tier>>);

/// A record as this test writes it: its version, and its mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Record {
    version: u64,
    mark: Mark,
}

impl Record {
    fn bytes(self) -> Vec<u8> {
        let numbers = [self.version, self.mark.base, self.mark.number];
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        [0; HEADER].into_iter().chain(numbers).collect()
    }

    fn parse(bytes: &[u8]) -> Self {
        let (numbers, []) = bytes[HEADER..].as_chunks() else {
            panic!("not a record: {bytes:?}");
        };
        let numbers = numbers.iter().map(|number| u64::from_le_bytes(*number));
        let numbers: Vec<u64> = numbers.collect();
        let [version, base, number] = numbers[..] else {
            panic!("not a record: {bytes:?}");
        };
        let mark = Mark { base, number };
        Self { version, mark }
    }
}

/// The key of a marked function with this digest.
fn key(digest: u64) -> RecordKey {
    let function = FunctionKey::new("tagged", 1).marked(true);
    RecordKey::new(Arc::new(function), digest.to_string(), digest)
}

impl Cache {
    /// Opens the tiers of an instance that has bound a marked function.
    async fn open(redis: Redis) -> Self {
        let cache = Self::open_unbound(redis).await;
        cache.bind();
        cache.until_coherent().await;
        cache
    }

    async fn open_unbound(redis: Redis) -> Self {
        let redis: Box<dyn TierBuilder> = Box::new(redis);
        let context = TierContext::new(Level::L2, Peers::none());
        let contexts = context.of_shards(redis.shards()).unwrap();
        let tiers = redis.build_shards(&contexts).unwrap();
        for tier in &tiers {
            tier.start().await.unwrap();
        }
        Self(tiers)
    }

    /// Binds a marked function.
    fn bind(&self) {
        for tier in &self.0 {
            ledger(tier).enable();
        }
    }

    /// Waits until every shard is coherent and has loaded its ledger.
    async fn until_coherent(&self) {
        let mark = Mark { base: 1, number: 0 };
        until("the ledgers are loaded", || {
            let state = |tier| ledger(tier).state(marks(&key(0), mark, &[]));
            self.0.iter().all(|tier| state(tier).is_some())
        })
        .await;
    }

    async fn until_connected(&self) {
        until("the tiers are connected", || {
            self.0.iter().all(|tier| tier.health().connected)
        })
        .await;
    }

    async fn until_disconnected(&self) {
        until("the tiers are not connected", || {
            self.0.iter().all(|tier| !tier.health().connected)
        })
        .await;
    }

    async fn until_queue_is_empty(&self) {
        until("everything queued is sent", || self.queued() == 0).await;
    }

    fn queued(&self) -> usize {
        self.0.iter().map(|tier| tier.health().queued).sum()
    }

    fn tier(&self, key: &RecordKey) -> &Arc<dyn Tier> {
        let shards = self.0.len();
        let index = (usize::from(key.digest as u16) * shards) >> 16;
        &self.0[index]
    }

    fn ledger(&self, key: &RecordKey) -> &dyn Ledger {
        ledger(self.tier(key))
    }

    /// Takes the lease of a load; `None` if the key is being loaded.
    async fn lease(&self, key: &RecordKey) -> Option<multi_tier_cached::tier::Lease> {
        let tier = self.tier(key);
        let header = match self.read(key).await {
            Some(record) => record.bytes()[..HEADER].to_vec(),
            None => Vec::new(),
        };
        match tier.lease(key, LeaseMode::Exclusive, &header, SOON).await {
            Ok(LeaseResult::Granted(lease)) => Some(lease),
            Ok(_) | Err(_) => None,
        }
    }

    /// Loads a version, and stores it.
    async fn load(&self, key: &RecordKey, version: u64) -> Record {
        let lease = self.lease(key).await.expect("a lease");
        let mark = lease.mark.expect("the lease of a marked function");
        let record = Record { version, mark };
        let stored = self.tier(key).fill(key, &lease, record.bytes(), HOUR, SOON);
        assert_eq!(stored.await.unwrap(), FillResult::Stored);
        record
    }

    /// Reads the record of a key, which may be invalid.
    async fn read(&self, key: &RecordKey) -> Option<Record> {
        let read = self.tier(key).read(key, ReadOptions::default(), SOON);
        let record = read.await.ok()?.record?;
        Some(Record::parse(&record))
    }

    /// Judges a record by the copy of the ledger.
    fn state(&self, key: &RecordKey, record: Record, tags: &[u64]) -> Option<MarksState> {
        self.ledger(key).state(marks(key, record.mark, tags))
    }

    /// Judges a record by the ledger in the store.
    async fn in_store(&self, key: &RecordKey, record: Record, tags: &[u64]) -> MarksState {
        let marks = marks(key, record.mark, tags);
        let state = self.ledger(key).state_in_store(marks, SOON);
        state.await.unwrap()
    }

    /// Invalidates tags in all shards, as a runtime does.
    async fn invalidate(&self, tags: &[u64]) -> Receipt {
        let mut worst = Receipt::Acked;
        for tier in &self.0 {
            worst = worst.max(tier.invalidate_tags(tags, SOON).await.unwrap());
        }
        worst
    }

    async fn expire(&self, target: Expiry<'_>) -> Receipt {
        let mut worst = Receipt::Acked;
        for tier in &self.0 {
            worst = worst.max(tier.expire(target, SOON).await.unwrap());
        }
        worst
    }

    async fn until_state(&self, key: &RecordKey, record: Record, tags: &[u64], state: MarksState) {
        until("the other instance knows", || {
            self.state(key, record, tags) == Some(state)
        })
        .await;
    }

    async fn shutdown(&self) {
        for tier in &self.0 {
            tier.shutdown().await.unwrap();
        }
    }
}

fn ledger(tier: &Arc<dyn Tier>) -> &dyn Ledger {
    tier.ledger().expect("a tier with a ledger")
}

fn marks<'a>(key: &RecordKey, mark: Mark, tags: &'a [u64]) -> Marks<'a> {
    Marks {
        mark,
        tags,
        key: key.digest,
        function: key.function.digest,
    }
}

/// Waits until no command of the instances reads any more: they send their first barriers at once.
async fn until_idle(server: &Server) {
    let mut read = server.calls("getrange");
    until_ok("the first barriers are answered", async || {
        sleep(Duration::from_millis(50)).await;
        let before = std::mem::replace(&mut read, server.calls("getrange"));
        if before == read { Ok(()) } else { Err(read) }
    })
    .await;
}
