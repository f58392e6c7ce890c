//! The tiers and connections on which operations are measured.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cache_core::tier::kit::AbortOnDrop;
use cache_core::tier::{
    FillResult, FunctionKey, HEADER_LEN, Lease, LeaseMode, LeaseResult, Peers, ReadOptions,
    Receipt, RecordKey, Shard, Target, Tier, TierBuilder, TierContext,
};
use cache_core::{Error, ErrorKind, Level};
use cache_redis::inspect::{InspectedShard, Inspection, Messages};
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, interval, timeout};

use super::operation::Operation;
use crate::failure::{Failure, in_full};
use crate::scratch::{BARE, Scratch};

/// The largest number of keys that the run has at a time.
const MOST_KEYS: usize = 1_000;

/// The number of bytes that the records of a round have together, about.
const MOST_BYTES: usize = 16 << 20;

/// The life of records, if the program cannot remove them.
const LIFE: Duration = Duration::from_secs(60);

/// The time that a tier has to connect again before the run ends.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why an operation has no result.
#[derive(Debug)]
pub(super) enum Problem {
    /// The operation had no reply within its limit.
    Late(String),
    /// The operation failed, and the next one may not.
    Failed(String),
    /// The tier has no connection, and may have one soon.
    Unavailable(Failure),
    /// The servers cannot be used any more.
    Lost(Failure),
}

/// One operation.
#[derive(Debug)]
pub(super) struct Attempt {
    pub(super) took: Duration,
    pub(super) result: Result<(), Problem>,
}

/// One shard: the tier, as an instance has it, and connections for bare commands.
#[derive(Debug)]
struct PreparedShard {
    tier: Arc<dyn Tier>,
    bare: MultiplexedConnection,
    /// The key that `GET` reads.
    bare_key: String,
    messages: Messages,
    /// Ends the connection for bare commands with this value.
    _driver: AbortOnDrop<()>,
}

/// A key, and the lease on it between its lease and its fill.
#[derive(Debug)]
struct PreparedKey {
    key: RecordKey,
    shard: usize,
    /// Locked to put the lease there and to take it, and not while anything is awaited.
    lease: Mutex<Option<Lease>>,
    /// Set by a fill. Relaxed: the tasks of a turn are joined before the next turn reads it.
    has_record: AtomicBool,
}

/// Everything that operations use.
#[derive(Debug)]
pub(super) struct Setup {
    inspection: Inspection,
    shards: Vec<PreparedShard>,
    keys: Vec<PreparedKey>,
    record: Vec<u8>,
    limit: Duration,
}

impl Setup {
    /// Connects, and stores the keys that bare commands read, for a run of `lasts`.
    pub(super) async fn open(
        scratch: &Scratch,
        value_bytes: usize,
        lasts: Duration,
    ) -> Result<Self, Failure> {
        let inspection = scratch.connect().await?;
        let builder: Box<dyn TierBuilder> = Box::new(scratch.redis());
        let context = TierContext::new(Level::L2, Peers::none());
        let contexts = context.of_shards(builder.shards())?;
        let tiers = builder.build_shards(&contexts)?;
        let most = tiers[0].settings().max_record_bytes;
        let bytes = value_bytes.saturating_add(HEADER_LEN);
        if bytes > most {
            return Err(Failure::usage(
                format!("a record of {bytes} bytes is larger than the {most} that a tier stores"),
                format!("use `--value-bytes {}` at most", most - HEADER_LEN),
            ));
        }
        let limit = tiers[0].settings().time_limit;
        let mut setup = Self {
            keys: keys(&contexts, (MOST_BYTES / bytes).clamp(1, MOST_KEYS)),
            inspection,
            shards: Vec::new(),
            record: std::iter::repeat_with(|| fastrand::u8(..))
                .take(bytes)
                .collect(),
            limit,
        };
        let prepared = setup.prepare(tiers, LIFE + lasts).await;
        match prepared {
            Ok(()) => Ok(setup),
            Err(failure) => {
                // The error that is known already says more.
                let _ = setup.close().await;
                Err(failure)
            }
        }
    }

    async fn prepare(&mut self, tiers: Vec<Arc<dyn Tier>>, life: Duration) -> Result<(), Failure> {
        for (shard, tier) in self.inspection.shards().iter().zip(tiers) {
            let node = self.inspection.node_of(shard);
            let (bare, driver) = node.open().await?;
            self.shards.push(PreparedShard {
                tier,
                bare,
                bare_key: shard.published_name(BARE),
                messages: shard.messages(node).await?,
                _driver: driver,
            });
        }
        for shard in &self.shards {
            shard.tier.start().await?;
            let mut set = redis::cmd("SET");
            set.arg(&shard.bare_key).arg(&self.record);
            set.arg("EX").arg(life.as_secs());
            set.exec_async(&mut shard.bare.clone()).await?;
        }
        Ok(())
    }

    /// Ends the tiers in order: afterwards no command of theirs is on its way.
    pub(super) async fn close(&self) -> Result<(), Failure> {
        let mut result = Ok(());
        self.begin_round();
        for shard in &self.shards {
            if let Err(error) = shard.tier.shutdown().await {
                result = Err(error.into());
            }
        }
        result
    }

    /// Returns the addresses of the servers.
    pub(super) fn addresses(&self) -> Vec<String> {
        let nodes = self.inspection.nodes().iter();
        nodes.map(cache_redis::inspect::Node::address).collect()
    }

    pub(super) fn time_limit(&self) -> Duration {
        self.limit
    }

    /// Gives the leases back that no fill has used.
    pub(super) fn begin_round(&self) {
        for key in &self.keys {
            drop(key.take_lease());
            key.has_record.store(false, Ordering::Relaxed);
        }
    }

    /// Returns the indices of all keys.
    pub(super) fn all_keys(&self) -> Arc<[usize]> {
        self.keys_that(|_| true)
    }

    /// Returns the indices of the keys that have a lease.
    pub(super) fn leased_keys(&self) -> Arc<[usize]> {
        self.keys_that(PreparedKey::has_lease)
    }

    /// Returns the indices of the keys that were filled in this round.
    pub(super) fn stored_keys(&self) -> Arc<[usize]> {
        self.keys_that(|key| key.has_record.load(Ordering::Relaxed))
    }

    fn keys_that(&self, is_meant: impl Fn(&PreparedKey) -> bool) -> Arc<[usize]> {
        let keys = self.keys.iter().enumerate();
        keys.filter(|(_, key)| is_meant(key))
            .map(|(index, _)| index)
            .collect()
    }

    /// Waits until all tiers are connected, and returns `false` if they are not soon.
    pub(super) async fn is_connected_again(&self) -> bool {
        let is_connected = || self.shards.iter().all(|of| of.tier.health().connected);
        let connected = async {
            let mut ticks = interval(PATIENCE / 100);
            while !is_connected() {
                ticks.tick().await;
            }
        };
        timeout(PATIENCE, connected).await.is_ok()
    }

    /// Returns the names of keys that operations write in a shard.
    pub(super) fn names(&self, shard: &InspectedShard) -> Vec<String> {
        let index = usize::from(shard.index());
        let keys = self.keys.iter().filter(|key| key.shard == index);
        let mut names: Vec<String> = keys.map(|key| shard.record_name(&key.key)).collect();
        names.push(shard.epoch_name(&function()));
        names
    }

    /// Does an operation on the key with this index, which is ready for it.
    pub(super) async fn perform(&self, operation: Operation, index: usize) -> Attempt {
        let key = &self.keys[index];
        let of_fill = match operation {
            Operation::Fill => key.take_lease().map(|lease| (lease, self.record.clone())),
            _ => None,
        };
        let began = Instant::now();
        let result = self.attempt(operation, key, of_fill).await;
        let took = began.elapsed();
        Attempt { took, result }
    }

    async fn attempt(
        &self,
        operation: Operation,
        key: &PreparedKey,
        of_fill: Option<(Lease, Vec<u8>)>,
    ) -> Result<(), Problem> {
        let shard = &self.shards[key.shard];
        match operation {
            Operation::Ping => self.ping(shard).await?,
            Operation::Get => self.get(shard).await?,
            Operation::Lease => self.lease(key, &*shard.tier).await?,
            Operation::Fill => {
                if let Some((lease, record)) = of_fill {
                    self.fill(key, &lease, record).await?;
                }
            }
            Operation::Hit => {
                let options = ReadOptions::default();
                let read = shard.tier.read(&key.key, options, self.limit).await;
                self.expect_record(read.map_err(problem)?.record)?;
            }
            Operation::Invalidate => {
                let target = Target::Key(&key.key);
                let receipt = shard.tier.invalidate(target, self.limit).await;
                if receipt.map_err(problem)? == Receipt::Queued {
                    let why = "the server did not acknowledge the invalidation in time";
                    return Err(Problem::Late(why.to_owned()));
                }
            }
            Operation::Barrier => {
                let inspected = &self.inspection.shards()[key.shard];
                let barrier = timeout(self.limit, inspected.barrier(&shard.messages)).await;
                barrier.map_err(|_| self.late())?.map_err(problem)?;
            }
        }
        Ok(())
    }

    async fn ping(&self, shard: &PreparedShard) -> Result<(), Problem> {
        let ping = redis::cmd("PING");
        self.bare(ping.exec_async(&mut shard.bare.clone())).await
    }

    async fn get(&self, shard: &PreparedShard) -> Result<(), Problem> {
        let mut get = redis::cmd("GET");
        get.arg(&shard.bare_key);
        let mut connection = shard.bare.clone();
        let found: Option<Vec<u8>> = self.bare(get.query_async(&mut connection)).await?;
        self.expect_record(found)
    }

    async fn fill(&self, key: &PreparedKey, lease: &Lease, record: Vec<u8>) -> Result<(), Problem> {
        let tier = &self.shards[key.shard].tier;
        let filled = tier.fill(&key.key, lease, record, LIFE, self.limit).await;
        match filled.map_err(problem)? {
            FillResult::Stored => {
                key.has_record.store(true, Ordering::Relaxed);
                Ok(())
            }
            other => Err(Problem::Failed(format!(
                "the record was not stored: {other:?}"
            ))),
        }
    }

    async fn lease(&self, key: &PreparedKey, tier: &dyn Tier) -> Result<(), Problem> {
        let lease = tier.lease(&key.key, LeaseMode::Exclusive, &[], self.limit);
        let why = match lease.await.map_err(problem)? {
            LeaseResult::Granted(lease) => {
                *key.lease.lock().unwrap_or_else(PoisonError::into_inner) = Some(lease);
                return Ok(());
            }
            LeaseResult::Held(_) => "another caller holds the lease".to_owned(),
            LeaseResult::BackedOff(_) => "the key is backed off".to_owned(),
            LeaseResult::Refused(why) => format!("the lease was refused: {why:?}"),
        };
        Err(Problem::Failed(why))
    }

    /// Waits for the reply to a bare command, as long as a tier would.
    async fn bare<T>(
        &self,
        reply: impl Future<Output = Result<T, redis::RedisError>>,
    ) -> Result<T, Problem> {
        let reply = timeout(self.limit, reply).await.map_err(|_| self.late())?;
        reply.map_err(|error| Problem::Lost(error.into()))
    }

    fn late(&self) -> Problem {
        Problem::Late(format!("no reply within {:?}", self.limit))
    }

    fn expect_record(&self, found: Option<Vec<u8>>) -> Result<(), Problem> {
        match found {
            Some(found) if found.len() == self.record.len() => Ok(()),
            Some(_) => Err(Problem::Failed("the record was changed".to_owned())),
            None => Err(Problem::Failed(
                "the record is not there; the server may have evicted it".to_owned(),
            )),
        }
    }
}

impl PreparedKey {
    fn has_lease(&self) -> bool {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.is_some()
    }

    fn take_lease(&self) -> Option<Lease> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.take()
    }
}

fn function() -> FunctionKey {
    FunctionKey::new("bench", 1)
}

/// Makes keys that are spread over the shards.
fn keys(contexts: &[TierContext], number: usize) -> Vec<PreparedKey> {
    let function = Arc::new(function());
    let shards: Vec<Shard> = contexts.iter().map(|context| context.shard).collect();
    let key = |index: usize| {
        // Digests are random, and so are these.
        let digest = fastrand::u64(..);
        let shard = shards.iter().position(|shard| shard.holds(digest));
        PreparedKey {
            key: RecordKey::new(Arc::clone(&function), index.to_string(), digest),
            shard: shard.unwrap_or_default(),
            lease: Mutex::default(),
            has_record: AtomicBool::new(false),
        }
    };
    (0..number).map(key).collect()
}

fn problem(error: Error) -> Problem {
    match error.kind() {
        ErrorKind::Unavailable => Problem::Unavailable(error.into()),
        ErrorKind::TimedOut => Problem::Late(in_full(&error)),
        _ => Problem::Failed(in_full(&error)),
    }
}
