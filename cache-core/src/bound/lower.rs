//! The tiers below memory as a function uses them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, Ordering};
use std::time::Duration;

use super::CachedFunction;
use super::visit::{TierVisit, TierVisits};
use crate::coherence::Coherence;
use crate::error::Error;
use crate::glob::Glob;
use crate::key::{Key, render};
use crate::level::Level;
use crate::record::{Header, RecordKind};
use crate::state::{Budget, invalidate_matching_within, invalidated, unlimited, with_time_limit};
use crate::stats::{TierCounters, TierStats};
use crate::tier::config::{Lives, Promotion, TierConfig};
use crate::tier::watch::{Operation, Watch};
use crate::tier::{
    Breaker, Deadlock, Guard, HeldLease, Matched, Receipt, RecordKey, Refusal, Target, Tier,
};
use crate::tokio_context::TokioContext;

/// A lower tier as a function uses it.
#[derive(Debug)]
pub(crate) struct TierBinding {
    pub(super) level: Level,
    pub(super) tier: Arc<dyn Tier>,
    /// Over the operations of all functions.
    watch: Arc<Watch>,
    config: TierConfig,
    lives: Lives,
    promotion: Promotion,
    finds: Finds,
    pub(super) counters: TierCounters,
}

/// How often values were found in a tier. Keys are counted apart as far as there are counts: one that is asked for in turn with
/// another must not take its share.
#[derive(Debug)]
struct Finds(Box<[AtomicU32]>);

impl Finds {
    const COUNTS: usize = 256;

    /// None where nobody asks.
    fn of(promotion: Promotion) -> Self {
        let counts = match promotion {
            Promotion::OneIn(_) => Self::COUNTS,
            Promotion::Always | Promotion::Never => 0,
        };
        Self((0..counts).map(|_| AtomicU32::new(0)).collect())
    }

    /// The number of this find; 0 where it is not counted.
    fn add_one(&self, digest: u64) -> u32 {
        let count = self.0.get(digest as usize % Self::COUNTS);
        count.map_or(0, |count| {
            count.fetch_add(1, Ordering::Relaxed).wrapping_add(1)
        })
    }
}

/// Whether the function's values survive being written and read.
#[derive(Debug)]
pub(super) struct RecordsWork {
    pub(super) state: AtomicU8,
    pub(super) reported: AtomicBool,
}

impl RecordsWork {
    pub(super) fn unknown() -> Self {
        Self {
            state: AtomicU8::new(Self::UNKNOWN),
            reported: AtomicBool::new(false),
        }
    }

    pub(super) const UNKNOWN: u8 = 0;
    pub(super) const YES: u8 = 1;
    pub(super) const NO: u8 = 2;
}

impl CachedFunction {
    /// The lower tiers that may have something of the function, in look-up order: those that it uses, and those that it says itself
    /// and operators have taken out.
    pub(super) fn invalidation_targets(&self) -> impl Iterator<Item = &TierBinding> {
        let mut told: Vec<&TierBinding> = self.lower.iter().collect();
        for disabled in &self.disabled {
            let at = told.partition_point(|lower| lower.level < disabled.level);
            told.insert(at, disabled);
        }
        told.into_iter()
    }

    /// Goes on where a tier fails: the others are to drop it all the same.
    pub(super) async fn invalidate_lower(&self, target: Target<'_>) -> Result<Receipt, Error> {
        let mut result = Ok(Receipt::Acked);
        let mut rest = Remaining {
            lower: self.invalidation_targets().collect(),
            target,
        };
        while let Some(lower) = rest.lower.pop() {
            match lower
                .invalidated(self.tokio_context_of(lower), target)
                .await
            {
                Ok(receipt) => result = result.map(|worst| receipt.max(worst)),
                Err(error) => result = Err(self.not_invalidated(lower, error)),
            }
        }
        result
    }

    /// The same for the keys that match; how many there were in the tier that had most.
    pub(super) async fn invalidate_matching_lower(&self, glob: &Glob) -> Result<Matched, Error> {
        let mut result = Ok(Matched::NONE);
        for lower in self
            .invalidation_targets()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            match invalidate_matching_within(
                self.tokio_context_of(lower),
                &*lower.tier,
                &self.function,
                glob,
            )
            .await
            {
                Ok(dropped) => result = result.map(|before| before.in_both(dropped)),
                Err(error) => result = Err(self.not_invalidated(lower, error)),
            }
        }
        result
    }

    fn not_invalidated(&self, lower: &TierBinding, error: Error) -> Error {
        let (name, level, kind) = (&self.name, lower.level, lower.tier.settings().kind);
        lower.failed("invalidate", name, &error);
        let what = format!("`{name}` was not invalidated in {level} ({kind})");
        Error::with_source(error.kind(), what, error)
    }

    /// Guards a key in every lower tier; those that could not are missing.
    pub(super) async fn guard_lower(&self, record_key: &RecordKey) -> Vec<Guard> {
        let mut guards = Vec::new();
        for lower in self
            .invalidation_targets()
            .collect::<Vec<_>>()
            .into_iter()
            .rev()
        {
            match lower
                .with_time_limit(self.tokio_context_of(lower), |within| {
                    lower.tier.guard(record_key, within)
                })
                .await
            {
                Ok(guard) => guards.push(guard),
                Err(error) => lower.failed("guard", &self.name, &error),
            }
        }
        guards
    }

    pub(super) fn tokio_context_of(&self, lower: &TierBinding) -> Option<&TokioContext> {
        self.state.tokio_context_of(&*lower.tier)
    }

    /// What one call needs to ask the lower tiers.
    pub(crate) fn lower_tiers(&self, key: &Key) -> TierVisits<'_> {
        let visit = |tier| TierVisit {
            tier,
            budget: Budget::new(&self.state, &*tier.tier),
            unusable: Vec::new(),
            is_unread: false,
            is_passed_over: false,
            stale_stamp: None,
            lease: None,
        };
        TierVisits {
            record_key: Arc::new(if self.is_memory_alone() {
                RecordKey::new(Arc::clone(&self.function), String::new(), 0)
            } else {
                self.record_key(key)
            }),
            visits: self.lower.iter().map(visit).collect(),
            exclusive: Vec::new(),
            known: None,
            consistency: self.policy.consistency,
            is_guarded: false,
            replaces: false,
            ttl: None,
            guard_is_unknown: false,
        }
    }

    /// Asks the tier at place `at` whether the wait for the lease on `awaited` would never end. `blocked` are the leases
    /// whose loads cannot end before the caller goes on. Returns `None` if there was no answer.
    pub(crate) async fn deadlock(
        &self,
        awaited: &RecordKey,
        at: usize,
        mut blocked: Vec<HeldLease>,
    ) -> Option<Deadlock> {
        let lower = &self.lower[at];
        blocked.retain(|lease| lease.level == lower.level);
        if blocked.is_empty() {
            return Some(Deadlock::Absent);
        }
        let Some(shared) = lower.tier.as_shared() else {
            return Some(Deadlock::Unknown);
        };
        let blocked = &blocked;
        let tokio_context = self.tokio_context_of(lower);
        let answer = lower.with_time_limit(tokio_context, |within| {
            shared.deadlock(blocked, awaited, within)
        });
        answer
            .await
            .inspect_err(|error| lower.failed("deadlock", &self.name, error))
            .ok()
    }

    pub(super) fn record_key(&self, key: &Key) -> RecordKey {
        RecordKey::new(
            Arc::clone(&self.function),
            render(key.as_ref().arguments, self.template),
            self.digest(key),
        )
    }
}

impl TierBinding {
    pub(super) fn new(
        config: TierConfig,
        tier: &Arc<dyn Tier>,
        watch: &Arc<Watch>,
        ttl: Duration,
    ) -> Self {
        Self {
            level: config.level(),
            tier: Arc::clone(tier),
            watch: Arc::clone(watch),
            config,
            lives: config.lives(ttl),
            promotion: config.promotes(),
            finds: Finds::of(config.promotes()),
            counters: TierCounters::default(),
        }
    }

    /// How long a record lives of what was loaded or put; `ttl` is its own, if it has one.
    pub(super) fn life(&self, digest: u64, ttl: Option<Duration>) -> Duration {
        let lives = ttl.map_or(self.lives, |ttl| self.config.lives(ttl));
        shortened(lives.filled, digest)
    }

    /// How long a copy lives of a record that has so much left.
    pub(super) fn life_of_copy(&self, digest: u64, left: Duration) -> Duration {
        shortened(self.lives.copied, digest).min(left)
    }

    /// How long a copy may live of a record that has so much left: no longer than its value is fresh by the function, or by itself if
    /// it has a time of its own.
    pub(super) fn left_for_copies(&self, header: &Header, left: Duration) -> Duration {
        // A copy was given no more than that.
        match header.kind {
            RecordKind::Copy => left,
            _ => left.min(self.config.ttl_of(Duration::from_millis(header.life))),
        }
    }

    pub(super) fn stats(&self) -> TierStats {
        self.counters.snapshot(self.level)
    }

    pub(super) fn coherence(&self) -> Option<Arc<Coherence>> {
        self.tier.coherence().cloned()
    }

    /// Whether the value that is found now, of the key with this digest, is copied to the tiers above.
    pub(super) fn promotes(&self, digest: u64) -> bool {
        match self.promotion {
            Promotion::Always => true,
            Promotion::Never => false,
            Promotion::OneIn(times) => self.finds.add_one(digest).is_multiple_of(times),
        }
    }

    /// Whether nobody else uses it, and it tells of no invalidation but this instance's.
    pub(super) fn is_private(&self) -> bool {
        self.tier.as_shared().is_none()
    }

    pub(super) fn is_cut_off(&self) -> bool {
        self.tier.as_shared().is_some() && self.tier.breaker() != Breaker::Closed
    }

    pub(super) fn link(&self) -> u64 {
        self.tier.link()
    }

    pub(super) async fn replicated(
        &self,
        tokio_context: Option<&TokioContext>,
        replicas: u32,
    ) -> Result<(), Error> {
        let Some(shared) = self.tier.as_shared() else {
            return Err(Error::configuration("the tier has no replicas to wait for"));
        };
        self.with_time_limit(tokio_context, |within| shared.replicated(replicas, within))
            .await
    }

    /// An operation that has the tier's time limit to itself.
    pub(super) async fn with_time_limit<T, F>(
        &self,
        tokio_context: Option<&TokioContext>,
        operation: impl FnOnce(Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let within = self.tier.settings().time_limit;
        with_time_limit(tokio_context, within, operation(within)).await
    }

    pub(super) async fn invalidated(
        &self,
        tokio_context: Option<&TokioContext>,
        target: Target<'_>,
    ) -> Result<Receipt, Error> {
        invalidated(tokio_context, &*self.tier, target).await
    }

    pub(super) async fn settle(&self, tokio_context: Option<&TokioContext>) -> Result<(), Error> {
        unlimited(tokio_context, self.tier.settle()).await
    }

    pub(super) fn succeeded(&self, operation: Operation) {
        self.watch.succeeded(operation);
    }

    pub(super) fn refused(&self, refusal: Refusal) {
        self.counters.refused_fills.add_one(refusal);
        self.watch.refused(self.tier.link(), refusal);
    }

    /// Notes that a read, a lease or a fill failed.
    pub(super) fn call_failed(&self, operation: Operation, function: &str, error: &Error) {
        self.watch.failed(operation, self.tier.link(), error);
        let operation = match operation {
            Operation::Read => "read",
            Operation::Lease => "lease",
            Operation::Fill => "fill",
        };
        self.failed(operation, function, error);
    }

    pub(super) fn failed(&self, operation: &'static str, function: &str, error: &Error) {
        self.counters.tier_errors.add_one();
        tracing::debug!(tier = %self.level, kind = self.tier.settings().kind, operation, function, error = ?error, "a tier failed");
    }
}

/// By the digest of a key, up to a twentieth shorter: so that records of one moment do not die at one moment, and are not all
/// loaded at once.
fn shortened(life: Duration, digest: u64) -> Duration {
    const SHARES: u64 = 1 << 16;
    let share = (digest % SHARES) as f64 / SHARES as f64;
    life - life.mul_f64(share / 20.0)
}

/// Tiers that an invalidation has not come to; they hear of it all the same when it is dropped.
struct Remaining<'a> {
    /// In look-up order.
    lower: Vec<&'a TierBinding>,
    target: Target<'a>,
}

impl Drop for Remaining<'_> {
    fn drop(&mut self) {
        for lower in self.lower.iter().rev() {
            lower.tier.invalidate_later(self.target);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_are_asked_for_in_turn_do_not_take_each_others_share() {
        let finds = Finds::of(Promotion::OneIn(2));
        for number in 1..=4 {
            for digest in [7, 8] {
                assert_eq!(finds.add_one(digest), number);
            }
        }
        assert!(Finds::of(Promotion::Always).0.is_empty());
    }
}
