//! A store of records as a runtime uses it: one tier, or one for each of its shards.
//!
//! An operation on a key goes to the key's shard. An operation on a function or on everything goes
//! to all shards at the same time. It is tried in all of them, also if one fails, and its result is
//! that of the shard that is worst off.

mod shard;

use std::future::Future;
use std::sync::Arc;

pub(crate) use self::shard::StoreShard;
use super::contract::Tier;
use super::key::{FunctionKey, RecordKey};
use super::lease::{Deadlock, Guard, HeldLease};
use super::ledger::Expiry;
#[cfg(feature = "inspect")]
use super::observed::ObservedRuntime;
use super::operation::{Matched, Receipt, Target};
use super::operation_times::LiveOperationTimes;
use super::received::ReceivedCounters;
use super::settings::TierSettings;
use super::shard::{Shard, ShardCount};
#[cfg(doc)]
use super::shared::SharedTier;
use super::status::{ShardStatus, TierStatus};
use super::time_limit::with_time_limit;
use super::waits::Wait;
use crate::clock::Clock;
use crate::error::Error;
use crate::glob::Glob;
use crate::join::join_all;
use crate::level::Level;
use crate::metrics::Observers;
use crate::panics::for_each_despite_panics;
use crate::tokio_context::TokioContext;

/// A store of records: the tiers of its shards.
#[derive(Debug)]
pub(crate) struct Store {
    /// At least one, in the order of their indices.
    shards: Box<[StoreShard]>,
    count: ShardCount,
    /// The times of the operations on all shards.
    times: Arc<LiveOperationTimes>,
    /// The messages that arrived over the channels of all shards.
    received: Arc<ReceivedCounters>,
}

impl Store {
    /// Makes a store of this level, of the tiers of its shards. Their operations are timed by
    /// `clock`.
    ///
    /// # Errors
    /// The number of shards cannot be used, or the tiers differ in what they must have in common.
    pub(crate) fn new(
        tiers: Vec<Arc<dyn Tier>>,
        level: Level,
        clock: Clock,
    ) -> Result<Self, Error> {
        // A number that does not fit is as wrong as one that is no power of two.
        let of = u8::try_from(tiers.len()).unwrap_or(u8::MAX);
        let (shards, count) = (Shard::all(of)?, ShardCount::new(of)?);
        let times = Arc::new(LiveOperationTimes::new(clock));
        let shards: Box<[_]> = shards
            .into_iter()
            .zip(tiers)
            .map(|(shard, tier)| StoreShard::new((shard, level), tier, Arc::clone(&times)))
            .collect();
        let this = Self {
            shards,
            count,
            times,
            received: Arc::default(),
        };
        let is_alike = |shard: &StoreShard| {
            shard.is_shared() == this.is_shared() && shard.tier.settings() == this.settings()
        };
        match this.shards.iter().all(is_alike) {
            true => Ok(this),
            false => {
                let kind = this.settings().kind;
                let problem = format!("the shards of a store differ in their settings ({kind})");
                Err(Error::configuration(problem))
            }
        }
    }

    /// Sets the counters of what arrives over the channels of all shards.
    pub(crate) fn counting_received(mut self, received: &Arc<ReceivedCounters>) -> Self {
        self.received = Arc::clone(received);
        self
    }

    /// Has the operations on the store reported to observers, as those of the tier at `level`.
    pub(crate) fn report_to(&self, level: Level, observers: &Arc<Observers>) {
        let kind = self.settings().kind;
        self.times.report_to(level, kind, Arc::clone(observers));
    }

    /// Returns the shard that holds the key with this digest, or with a stripe of this number.
    #[inline]
    pub(crate) fn of(&self, digest: u64) -> &StoreShard {
        &self.shards[self.count.index_of(digest)]
    }

    /// Returns all shards.
    #[cfg(feature = "testing")]
    pub(crate) fn shards(&self) -> &[StoreShard] {
        &self.shards
    }

    /// Returns the number of shards.
    pub(crate) fn count(&self) -> ShardCount {
        self.count
    }

    /// Returns the times of the operations on the store.
    pub(crate) fn times(&self) -> &LiveOperationTimes {
        &self.times
    }

    /// Returns the settings, which all shards have in common.
    pub(crate) fn settings(&self) -> &TierSettings {
        self.shards[0].tier.settings()
    }

    /// Returns `true` if several instances use the store.
    pub(crate) fn is_shared(&self) -> bool {
        self.shards[0].is_shared()
    }

    /// Returns the shards of the key with this digest, or all.
    fn reached(&self, digest: Option<u64>) -> &[StoreShard] {
        match digest {
            Some(digest) => std::slice::from_ref(self.of(digest)),
            None => &self.shards,
        }
    }

    /// Starts all shards. If one fails, those that have started are shut down.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        let started = join_all(self.shards.iter().map(|shard| shard.tier.start())).await;
        let shards = || self.shards.iter().zip(&started);
        let failed = shards().find_map(|(shard, result)| {
            let error = result.clone().err()?;
            Some(shard.name(error))
        });
        let Some(error) = failed else {
            return Ok(());
        };
        let running = shards().filter(|(_, result)| result.is_ok());
        for stopped in join_all(running.map(|(shard, _)| shard.tier.shutdown())).await {
            self.report_shutdown(stopped);
        }
        Err(error)
    }

    /// Has the first shard publish the state of the runtime, if it is set to.
    #[cfg(feature = "inspect")]
    pub(crate) fn observe(&self, runtime: Arc<dyn ObservedRuntime>) {
        self.shards[0].tier.observe(runtime);
    }

    /// Ends all shards.
    pub(crate) async fn shutdown(&self, context: Option<&TokioContext>) -> Result<(), Error> {
        let shut_down = |shard| StoreShard::shutdown(shard, context);
        on_all(&self.shards, shut_down, (), |(), ()| ()).await
    }

    /// Ends all shards after the runtime could not be built.
    pub(crate) async fn give_up(&self) {
        self.report_shutdown(self.shutdown(None).await);
    }

    fn report_shutdown(&self, result: Result<(), Error>) {
        if let Err(error) = result {
            tracing::debug!(
                target: "multi_tier_cached::tier",
                kind = self.settings().kind,
                error = ?error,
                "a tier did not shut down in order"
            );
        }
    }

    /// Invalidates a key in its shard, and everything else in all shards.
    pub(crate) async fn invalidate(
        &self,
        context: Option<&TokioContext>,
        target: Target<'_>,
    ) -> Result<Receipt, Error> {
        let shards = self.reached(digest_of(target));
        let invalidate = |shard| StoreShard::invalidate(shard, context, target);
        on_all(shards, invalidate, Receipt::Acked, Ord::max).await
    }

    /// Invalidates tags in all shards: a key of any shard may have them.
    pub(crate) async fn invalidate_tags(
        &self,
        context: Option<&TokioContext>,
        tags: &[u64],
    ) -> Result<Receipt, Error> {
        let invalidate = |shard| StoreShard::invalidate_tags(shard, context, tags);
        on_all(&self.shards, invalidate, Receipt::Acked, Ord::max).await
    }

    /// Invalidates tags without a result and without waiting.
    pub(crate) fn invalidate_tags_later(&self, tags: &[u64]) {
        for_each_despite_panics(&self.shards, |shard| shard.tier.invalidate_tags_later(tags));
    }

    /// Makes the values of a key stale in its shard, and those of anything else in all shards.
    pub(crate) async fn expire(
        &self,
        context: Option<&TokioContext>,
        expiry: Expiry<'_>,
    ) -> Result<Receipt, Error> {
        let shards = self.reached(match expiry {
            Expiry::Key(key) => Some(key.digest),
            Expiry::Function(_) | Expiry::Tags(_) => None,
        });
        let expire = |shard| StoreShard::expire(shard, context, expiry);
        on_all(shards, expire, Receipt::Acked, Ord::max).await
    }

    /// Places a write guard of a key in its shard.
    pub(crate) async fn guard(
        &self,
        context: Option<&TokioContext>,
        key: &RecordKey,
    ) -> Result<Guard, Error> {
        self.of(key.digest).guard(context, key).await
    }

    /// Has the ledgers of all shards judge records from now on. Called for each function whose
    /// records carry marks.
    pub(crate) fn enable_ledger(&self) {
        let ledgers = self.shards.iter().filter_map(|shard| shard.tier.ledger());
        ledgers.for_each(|ledger| ledger.enable());
    }

    /// Invalidates without a result and without waiting.
    pub(crate) fn invalidate_later(&self, target: Target<'_>) {
        let shards = self.reached(digest_of(target));
        for_each_despite_panics(shards, |shard| shard.tier.invalidate_later(target));
    }

    /// Invalidates the part of `target` that is in a shard of another store, without a result and
    /// without waiting.
    pub(crate) fn invalidate_later_in(&self, shard: Shard, target: Target<'_>) {
        match target {
            Target::Key(_) => self.invalidate_later(target),
            Target::Function(_) | Target::All => {
                let shards = &self.shards[shard.overlap(self.count)];
                for_each_despite_panics(shards, |shard| shard.tier.invalidate_later(target));
            }
        }
    }

    /// Invalidates tags in the part of a shard of another store, without a result and without
    /// waiting.
    pub(crate) fn invalidate_tags_later_in(&self, shard: Shard, tags: &[u64]) {
        let shards = &self.shards[shard.overlap(self.count)];
        for_each_despite_panics(shards, |shard| shard.tier.invalidate_tags_later(tags));
    }

    /// Invalidates the keys that match a pattern.
    pub(crate) async fn invalidate_matching(
        &self,
        context: Option<&TokioContext>,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<Matched, Error> {
        let invalidate = |shard| StoreShard::invalidate_matching(shard, context, function, glob);
        on_all(&self.shards, invalidate, Matched::NONE, Matched::and).await
    }

    /// Waits until no instance can return what was invalidated before: in the shard of the key with
    /// this digest, or in all.
    pub(crate) async fn settle(
        &self,
        context: Option<&TokioContext>,
        digest: Option<u64>,
    ) -> Result<(), Error> {
        let settle = |shard| StoreShard::settle(shard, context);
        on_all(self.reached(digest), settle, (), |(), ()| ()).await
    }

    /// Waits until replicas have what was acknowledged: in the shard of the key with this digest,
    /// or in all.
    pub(crate) async fn replicated(
        &self,
        context: Option<&TokioContext>,
        replicas: u32,
        digest: Option<u64>,
    ) -> Result<(), Error> {
        let replicated = |shard| StoreShard::replicated(shard, context, replicas);
        on_all(self.reached(digest), replicated, (), |(), ()| ()).await
    }

    /// Returns the numbers of the links to the shard of the key with this digest, or to all.
    pub(crate) fn links(&self, digest: Option<u64>) -> impl Iterator<Item = u64> {
        self.reached(digest).iter().map(StoreShard::link)
    }

    /// Lists the instances of a generic function. Returns the error of a shard that cannot.
    pub(crate) async fn instances(
        &self,
        context: Option<&TokioContext>,
        name: &str,
        version: u32,
    ) -> (Vec<FunctionKey>, Option<Error>) {
        let instances = |shard| StoreShard::instances(shard, context, name, version);
        let listed = join_all(self.shards.iter().map(instances)).await;
        let (mut found, mut failed) = (Vec::new(), None);
        for (shard, listed) in self.shards.iter().zip(listed) {
            match listed {
                Ok(instances) => found.extend(instances),
                Err(error) => failed = Some(shard.name(error)),
            }
        }
        (found, failed)
    }

    /// Tells whether a wait for the lease on `awaited` would never end; see
    /// [`SharedTier::deadlock`].
    ///
    /// The shard of `awaited` finds a ring in itself. A ring through several shards is found by
    /// their [wait graphs](SharedTier::shard_waits).
    pub(crate) async fn deadlock(
        &self,
        context: Option<&TokioContext>,
        held: &[HeldLease],
        awaited: &RecordKey,
    ) -> Result<Deadlock, Error> {
        let of_awaited = self.of(awaited.digest);
        let Some(shared) = of_awaited.tier.as_shared() else {
            return Ok(Deadlock::Unknown);
        };
        let within = self.settings().time_limit;
        if of_awaited.shard.is_only() {
            let answer = shared.deadlock(held, awaited, within);
            return with_time_limit(context, within, answer).await;
        }
        let graphs = self.shards.iter().map(StoreShard::shard_waits);
        let graphs: Option<Vec<_>> = graphs.collect();
        let Some(graphs) = graphs else {
            return Ok(Deadlock::Unknown);
        };
        let is_here = |lease: &&HeldLease| of_awaited.shard.holds(lease.key.digest);
        let here: Vec<_> = held.iter().filter(is_here).cloned().collect();
        let wait = Wait {
            shard: of_awaited.shard,
            held,
            awaited,
            within,
        };
        let answer = async {
            if !here.is_empty() {
                let answer = shared.deadlock(&here, awaited, within).await?;
                if answer != Deadlock::Absent {
                    return Ok(answer);
                }
            }
            wait.closes_ring(&graphs).await
        };
        with_time_limit(context, within, answer).await
    }

    /// Returns the state of the store without a request to it.
    pub(crate) fn status(&self, level: Level) -> TierStatus {
        let shards = self.shards.iter().map(StoreShard::status).collect();
        self.status_of(level, shards)
    }

    /// Pings all shards, and returns the state of the store.
    pub(crate) async fn ping(&self, level: Level, context: Option<&TokioContext>) -> TierStatus {
        let shards = join_all(self.shards.iter().map(|shard| shard.ping(context))).await;
        self.status_of(level, shards)
    }

    fn status_of(&self, level: Level, shards: Vec<ShardStatus>) -> TierStatus {
        TierStatus {
            operations: self.times.snapshot(),
            received: self.received.snapshot(),
            ..TierStatus::of_shards(level, self.settings().kind, shards)
        }
    }
}

/// Does an operation on shards, at the same time, and combines their results with `initial`. If
/// some fail, the result is the first error. One shard needs no allocation.
async fn on_all<'a, T, F>(
    shards: &'a [StoreShard],
    operation: impl Fn(&'a StoreShard) -> F,
    initial: T,
    combine: impl Fn(T, T) -> T,
) -> Result<T, Error>
where
    F: Future<Output = Result<T, Error>>,
{
    if let [shard] = shards {
        return operation(shard).await.map_err(|error| shard.name(error));
    }
    let results = join_all(shards.iter().map(operation)).await;
    let mut combined = initial;
    for (shard, result) in shards.iter().zip(results) {
        let result = result.map_err(|error| shard.name(error))?;
        combined = combine(combined, result);
    }
    Ok(combined)
}

/// Returns the digest of the key that an invalidation is of, if it is of one.
fn digest_of(target: Target<'_>) -> Option<u64> {
    match target {
        Target::Key(key) => Some(key.digest),
        Target::Function(_) | Target::All => None,
    }
}

#[cfg(test)]
mod tests;
