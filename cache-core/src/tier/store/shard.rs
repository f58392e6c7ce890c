//! One shard of a store.

use std::future::Future;
use std::sync::Arc;

use crate::coherence::Coherence;
use crate::error::Error;
use crate::glob::Glob;
use crate::level::Level;
use crate::stats::Refusal;
use crate::tier::contract::Tier;
use crate::tier::inspection::Inspection;
use crate::tier::key::{FunctionKey, RecordKey};
use crate::tier::lease::Guard;
use crate::tier::ledger::Expiry;
use crate::tier::operation::{Matched, Receipt, Target};
use crate::tier::operation_times::LiveOperationTimes;
use crate::tier::shard::Shard;
use crate::tier::status::{Breaker, ShardStatus};
use crate::tier::time_limit::{change_within, with_time_limit, without_time_limit};
use crate::tier::waits::ShardWaits;
use crate::tier::watch::{Operation, Watch};
use crate::tokio_context::TokioContext;
use crate::trace::{OperationSpan, TierOperation};

/// One shard of a store.
#[derive(Debug)]
pub(crate) struct StoreShard {
    pub(super) shard: Shard,
    /// The level of the store.
    level: Level,
    pub(crate) tier: Arc<dyn Tier>,
    /// Successes and failures of the tier's operations, for all functions together.
    watch: Watch,
    /// The times of the operations on all shards of the store.
    times: Arc<LiveOperationTimes>,
}

impl StoreShard {
    pub(super) fn new(
        (shard, level): (Shard, Level),
        tier: Arc<dyn Tier>,
        times: Arc<LiveOperationTimes>,
    ) -> Self {
        Self {
            shard,
            level,
            tier,
            watch: Watch::default(),
            times,
        }
    }

    /// Returns the state of the shard's channel; `None` in a private store.
    pub(crate) fn coherence(&self) -> Option<&Arc<Coherence>> {
        self.tier.coherence()
    }

    pub(super) fn shard_waits(&self) -> Option<&dyn ShardWaits> {
        self.tier.as_shared()?.shard_waits()
    }

    /// Returns `true` if the shard is shared and cannot be reached.
    pub(crate) fn is_cut_off(&self) -> bool {
        self.is_shared() && self.tier.breaker() != Breaker::Closed
    }

    /// Notes an operation that succeeded.
    pub(crate) fn succeeded(&self, operation: Operation) {
        self.watch.succeeded(operation);
    }

    /// Notes an operation that failed.
    pub(crate) fn failed(&self, operation: Operation, error: &Error) {
        self.watch.failed(operation, self.link(), error);
    }

    /// Notes a fill that was refused.
    pub(crate) fn refused(&self, refusal: Refusal) {
        self.watch.refused(self.link(), refusal);
    }

    pub(super) fn is_shared(&self) -> bool {
        self.tier.as_shared().is_some()
    }

    pub(super) fn link(&self) -> u64 {
        self.tier.link()
    }

    pub(super) async fn invalidate(
        &self,
        context: Option<&TokioContext>,
        target: Target<'_>,
    ) -> Result<Receipt, Error> {
        let tier = &*self.tier;
        let invalidate = |within| tier.invalidate(target, within);
        let invalidated = change_within(context, tier, invalidate);
        self.timed("invalidate", invalidated).await
    }

    pub(super) async fn invalidate_tags(
        &self,
        context: Option<&TokioContext>,
        tags: &[u64],
    ) -> Result<Receipt, Error> {
        let tier = &*self.tier;
        let invalidate = |within| tier.invalidate_tags(tags, within);
        let invalidated = change_within(context, tier, invalidate);
        self.timed("invalidate", invalidated).await
    }

    pub(super) async fn expire(
        &self,
        context: Option<&TokioContext>,
        expiry: Expiry<'_>,
    ) -> Result<Receipt, Error> {
        let tier = &*self.tier;
        let expire = |within| tier.expire(expiry, within);
        let expired = change_within(context, tier, expire);
        self.timed("expire", expired).await
    }

    /// Begins the span of an operation.
    pub(crate) fn span(&self, operation: &'static str) -> OperationSpan {
        let operation = TierOperation {
            level: self.level,
            kind: self.tier.settings().kind,
            operation,
        };
        operation.begin(|| self.tier.health().address)
    }

    /// Records how long an invalidation takes, and has it traced.
    async fn timed(
        &self,
        operation: &'static str,
        invalidated: impl Future<Output = Result<Receipt, Error>>,
    ) -> Result<Receipt, Error> {
        let span = self.span(operation);
        let began = self.times.begin();
        let result = span.enter(invalidated).await;
        self.times.invalidated(began, &result);
        span.end(result.as_ref().err());
        result
    }

    /// Places a write guard of a key.
    pub(super) async fn guard(
        &self,
        context: Option<&TokioContext>,
        key: &RecordKey,
    ) -> Result<Guard, Error> {
        let within = self.tier.settings().time_limit;
        let span = self.span("guard");
        let began = self.times.begin();
        let guarded = with_time_limit(context, within, self.tier.guard(key, within));
        let result = span.enter(guarded).await;
        self.times.guarded(began, &result);
        span.end(result.as_ref().err());
        result
    }

    /// Invalidates the keys that match a pattern. If the tier is not reachable, the whole function
    /// is invalidated instead: a tier can keep that as pending, and cannot keep a pattern.
    pub(super) async fn invalidate_matching(
        &self,
        context: Option<&TokioContext>,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<Matched, Error> {
        let matching = self.tier.invalidate_matching(function, glob);
        match without_time_limit(context, matching).await {
            Ok(keys) => Ok(Matched {
                keys,
                receipt: Receipt::Acked,
            }),
            Err(error) if error.is_transient() => {
                let receipt = self.invalidate(context, Target::Function(function)).await?;
                let (kind, function) = (self.tier.settings().kind, &function.name);
                tracing::info!(
                    target: "multi_tier_cached::invalidation",
                    kind, function, ?receipt, error = ?error,
                    "the keys of a tier cannot be listed now; all keys of the function are invalidated in it"
                );
                Ok(Matched { keys: 0, receipt })
            }
            Err(error) => Err(error),
        }
    }

    pub(super) async fn settle(&self, context: Option<&TokioContext>) -> Result<(), Error> {
        without_time_limit(context, self.tier.settle()).await
    }

    pub(super) async fn shutdown(&self, context: Option<&TokioContext>) -> Result<(), Error> {
        without_time_limit(context, self.tier.shutdown()).await
    }

    pub(super) async fn instances(
        &self,
        context: Option<&TokioContext>,
        name: &str,
        version: u32,
    ) -> Result<Vec<FunctionKey>, Error> {
        without_time_limit(context, self.tier.instances(name, version)).await
    }

    pub(super) async fn replicated(
        &self,
        context: Option<&TokioContext>,
        replicas: u32,
    ) -> Result<(), Error> {
        let Some(shared) = self.tier.as_shared() else {
            return Err(Error::configuration("the tier has no replicas to wait for"));
        };
        let within = self.tier.settings().time_limit;
        with_time_limit(context, within, shared.replicated(replicas, within)).await
    }

    /// Looks at what the store has under a key. It is no operation of a call, so it is not counted.
    pub(crate) async fn inspect(
        &self,
        context: Option<&TokioContext>,
        key: &RecordKey,
    ) -> Result<Inspection, Error> {
        let within = self.tier.settings().time_limit;
        with_time_limit(context, within, self.tier.inspect(key, within)).await
    }

    pub(super) fn status(&self) -> ShardStatus {
        ShardStatus {
            index: self.shard.index(),
            breaker: self.tier.breaker(),
            health: self.tier.health(),
            answered_in: None,
            last_error: None,
        }
    }

    pub(super) async fn ping(&self, context: Option<&TokioContext>) -> ShardStatus {
        let status = self.status();
        let within = self.tier.settings().time_limit;
        match with_time_limit(context, within, self.tier.ping(within)).await {
            Ok(took) => ShardStatus {
                answered_in: Some(took),
                last_error: self.watch.last_error(self.link()),
                ..status
            },
            Err(error) => ShardStatus {
                last_error: Some(format!("{error:?}")),
                ..status
            },
        }
    }

    /// Names the shard in an error, if the store has others.
    pub(super) fn name(&self, error: Error) -> Error {
        match self.shard.is_only() {
            true => error,
            false => error.in_context(self.shard),
        }
    }
}
