//! One shard of a store.

use std::sync::Arc;

use crate::coherence::Coherence;
use crate::error::Error;
use crate::glob::Glob;
use crate::stats::Refusal;
use crate::tier::contract::Tier;
use crate::tier::key::FunctionKey;
use crate::tier::operation::{Matched, Receipt, Target};
use crate::tier::shard::Shard;
use crate::tier::status::{Breaker, ShardStatus};
use crate::tier::time_limit::{
    invalidate_matching_within, invalidate_within, with_time_limit, without_time_limit,
};
use crate::tier::waits::ShardWaits;
use crate::tier::watch::{Operation, Watch};
use crate::tokio_context::TokioContext;

/// One shard of a store.
#[derive(Debug)]
pub(crate) struct StoreShard {
    pub(super) shard: Shard,
    pub(crate) tier: Arc<dyn Tier>,
    /// Successes and failures of the tier's operations, for all functions together.
    watch: Watch,
}

impl StoreShard {
    pub(super) fn new(shard: Shard, tier: Arc<dyn Tier>) -> Self {
        Self {
            shard,
            tier,
            watch: Watch::default(),
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
        invalidate_within(context, &*self.tier, target).await
    }

    pub(super) async fn invalidate_matching(
        &self,
        context: Option<&TokioContext>,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<Matched, Error> {
        invalidate_matching_within(context, &*self.tier, function, glob).await
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
