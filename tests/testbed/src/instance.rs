//! Instances: runtimes that stand for the processes of an application.

use std::ops::Deref;

use multi_tier_cached::tier::{Health, Receipt};
use multi_tier_cached::{CacheRuntime, Error, Redis, RuntimeBuilder};
use tokio::task::JoinHandle;

use crate::{build, memory_alone, two_tiers, until};

/// A process of the application: a runtime, in which a test makes its calls. Clones share it.
///
/// Dereferences to the runtime, for statistics and the like.
#[derive(Clone, Debug)]
pub struct Instance {
    /// The runtime of this instance.
    pub runtime: CacheRuntime,
}

impl Instance {
    /// Creates an instance with memory only.
    pub async fn with_memory() -> Self {
        memory_alone().await.into()
    }

    /// Creates an instance with memory and the Redis at `url`.
    pub async fn with_redis_at(url: &str) -> Self {
        two_tiers(url).await.into()
    }

    /// Creates two instances with memory and the Redis at `url`.
    pub async fn two_at(url: &str) -> (Self, Self) {
        (
            Self::with_redis_at(url).await,
            Self::with_redis_at(url).await,
        )
    }

    /// Creates an instance with memory and `redis`.
    pub async fn with_redis(redis: Redis) -> Self {
        build(redis).await.into()
    }

    /// Creates an instance with the tiers of `builder`.
    pub async fn build(builder: RuntimeBuilder) -> Self {
        builder.build().await.expect("a runtime").into()
    }

    /// Runs `call` in this instance, and returns what it returns.
    pub async fn call<F: Future>(&self, call: F) -> F::Output {
        CacheRuntime::scope(self.runtime.clone(), call).await
    }

    /// Runs `call` in this instance as a task of its own.
    pub fn spawn<F>(&self, call: F) -> JoinHandle<F::Output>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        tokio::spawn(CacheRuntime::scope(self.runtime.clone(), call))
    }

    /// Runs an invalidation in this instance, and returns its receipt. An `Invalidation` finds its
    /// runtime when it is first polled, so it is created outside:
    /// `invalidate(invalidate!(read, 1))`.
    ///
    /// # Panics
    /// If the invalidation fails.
    pub async fn invalidate<F>(&self, invalidation: F) -> Receipt
    where
        F: Future<Output = Result<Receipt, Error>>,
    {
        let receipt = self.call(invalidation).await;
        receipt.expect("the invalidation succeeds")
    }

    /// Connection and coherence status of the highest tier below memory.
    pub fn tier_health(&self) -> Health {
        self.tiers()[0].health.clone()
    }

    /// Waits until the highest tier below memory is connected.
    pub async fn until_connected(&self) {
        until("the tier is connected", || self.tier_health().connected).await;
    }

    /// Waits until the highest tier below memory has noticed that its connection is lost.
    pub async fn until_disconnected(&self) {
        until("the lost connection is noticed", || {
            !self.tier_health().connected
        })
        .await;
    }

    /// Waits until the highest tier below memory is coherent with the other instances.
    pub async fn until_coherent(&self) {
        let is_coherent = || self.tier_health().coherent_for.is_some();
        until("the tier is coherent", is_coherent).await;
    }

    /// Waits until the highest tier below memory has lost a link that it had when it counted
    /// `before` [isolations](Health::isolations).
    pub async fn until_isolated_since(&self, before: u64) {
        let is_lost = || self.tier_health().isolations > before;
        until("the link is lost", is_lost).await;
    }

    /// Waits until no invalidation is queued in the highest tier below memory.
    pub async fn until_queue_is_empty(&self) {
        let is_empty = || self.tier_health().queued == 0;
        until("the queued invalidations are sent", is_empty).await;
    }

    /// Waits until the highest tier below memory has received the messages of this many
    /// invalidations of keys. Those of the instance itself count, too.
    pub async fn until_keys_received(&self, number: u64) {
        let are_received = || self.tiers()[0].received.keys >= number;
        until("the invalidations of keys are received", are_received).await;
    }
}

impl From<CacheRuntime> for Instance {
    fn from(runtime: CacheRuntime) -> Self {
        Self { runtime }
    }
}

impl Deref for Instance {
    type Target = CacheRuntime;

    fn deref(&self) -> &CacheRuntime {
        &self.runtime
    }
}
