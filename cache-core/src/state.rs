//! The state of a runtime: what it owns, and all its functions share.

mod tags;

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::{Arc, OnceLock};

use tracing::Span;

use crate::background::Background;
use crate::clock::Clock;
use crate::codec::{Encoding, Encodings};
use crate::error::Error;
use crate::events::{Concerns, EventKind, EventOrigin, EventScope, Events};
use crate::fence::Fences;
use crate::flight::Flights;
use crate::function::options::WhenIsolated;
use crate::function::overrides::Overrides;
use crate::function::ttl::Policies;
use crate::glob::Glob;
use crate::level::Level;
use crate::metrics::{MetricsDetail, Observers};
use crate::panics::for_each_despite_panics;
use crate::stats::Counter;
use crate::tier::config::TierConfig;
use crate::tier::memory::MemoryTier;
use crate::tier::store::Store;
use crate::tier::{FunctionKey, LocalLeases, Matched, Receipt, Target, TierSettings};
use crate::tokio_context::TokioContext;
use crate::trace::{self, Change};

/// Number of loads that run in the background at the same time, if nothing sets it. The reason is
/// in the docs of [`background_loads`](crate::RuntimeBuilder::background_loads).
pub(crate) const DEFAULT_BACKGROUND_LOADS: usize = 64;

/// The state of a runtime, which all its functions share.
#[derive(Debug)]
pub(crate) struct RuntimeState {
    pub(crate) memory: Option<(TierConfig, MemoryTier)>,
    /// The tiers below memory, in look-up order.
    pub(crate) lower: Vec<(TierConfig, Arc<Store>)>,
    pub(crate) fences: Arc<Fences>,
    pub(crate) flights: Arc<Flights>,
    /// The last events.
    pub(crate) events: Arc<Events>,
    pub(crate) clock: Clock,
    pub(crate) encodings: Encodings,
    pub(crate) defaults: Defaults,
    /// The seed of the key hash. It is random, so that an outsider cannot choose keys
    /// that collide.
    pub(crate) seed: u64,
    /// A random number of this runtime, which records in private tiers carry. Records of an earlier
    /// runtime are not valid: their tier was not informed about what other instances invalidated
    /// since.
    pub(crate) run: u64,
    /// Copies of records to other tiers.
    pub(crate) background: Background,
    /// Loads whose callers were answered.
    pub(crate) loads: Background,
    /// Loads that began on the task of a caller and continue in the background.
    pub(crate) handed_over: Background,
    /// The Tokio runtime in which the tiers were started.
    pub(crate) tokio_context: OnceLock<TokioContext>,
    /// The write guards that this instance holds.
    pub(crate) guards: Arc<LocalLeases>,
    /// Tags that were invalidated and expired on this instance.
    pub(crate) tag_invalidations: Counter,
    pub(crate) tag_expiries: Counter,
    /// Invalidations of everything that were made on this instance.
    pub(crate) invalidations_of_all: Counter,
    /// Recipients of the durations of loads and of the tiers' operations.
    pub(crate) observers: Arc<Observers>,
    pub(crate) metrics_detail: MetricsDetail,
}

/// Settings for functions that do not have their own.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) encoding: Encoding,
    pub(crate) when_isolated: WhenIsolated,
    /// Named policies.
    pub(crate) policies: Policies,
    /// Settings that operators make in place of those in the code.
    pub(crate) overrides: Overrides,
    /// Spans have the keys of calls.
    pub(crate) keys_in_traces: bool,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            encoding: Encoding::Postcard,
            when_isolated: WhenIsolated::default(),
            policies: Policies::built_in(),
            overrides: Overrides::default(),
            keys_in_traces: false,
        }
    }
}

impl RuntimeState {
    pub(crate) fn new(
        memory: Option<(TierConfig, MemoryTier)>,
        lower: Vec<(TierConfig, Arc<Store>)>,
        fences: Arc<Fences>,
        clock: Clock,
        encodings: Encodings,
        defaults: Defaults,
    ) -> Self {
        Self {
            memory,
            lower,
            fences,
            flights: Flights::new(),
            events: Arc::default(),
            clock,
            encodings,
            defaults,
            seed: RandomState::new().hash_one(0u8),
            run: RandomState::new().hash_one(1u8),
            background: Background::of_promotions(),
            loads: Background::of_loads(DEFAULT_BACKGROUND_LOADS),
            handed_over: Background::of_hand_overs(),
            tokio_context: OnceLock::new(),
            guards: Arc::default(),
            tag_invalidations: Counter::default(),
            tag_expiries: Counter::default(),
            invalidations_of_all: Counter::default(),
            observers: Arc::default(),
            metrics_detail: MetricsDetail::default(),
        }
    }

    /// Invalidates everything in all lower tiers, from the lowest to the highest. If one fails, the
    /// others are invalidated nevertheless. If the future is dropped, the remaining tiers
    /// invalidate without being awaited.
    pub(crate) async fn invalidate_all(&self) -> Result<Receipt, Error> {
        trace::change(change("invalidate", "all"), self.invalidate_lower()).await
    }

    async fn invalidate_lower(&self) -> Result<Receipt, Error> {
        self.invalidations_of_all.add_one();
        self.events.note(
            Concerns::default(),
            EventKind::Invalidated {
                scope: EventScope::All,
                by: EventOrigin::Here,
            },
        );
        struct Remaining<'a>(&'a [(TierConfig, Arc<Store>)]);

        impl Drop for Remaining<'_> {
            fn drop(&mut self) {
                for_each_despite_panics(self.0.iter().rev(), |(_, store)| {
                    store.invalidate_later(Target::All);
                });
            }
        }

        let mut result = Ok(Receipt::Acked);
        let mut remaining = Remaining(&self.lower);
        while let Some(((config, store), above)) = remaining.0.split_last() {
            remaining.0 = above;
            let context = self.tokio_context_of(store.settings());
            match store.invalidate(context, Target::All).await {
                Ok(receipt) => result = result.map(|worst| receipt.max(worst)),
                Err(error) => result = Err(not_invalidated("everything", *config, store, error)),
            }
        }
        result
    }

    /// Invalidates the matching keys of a function that was not called on this instance, in all
    /// lower tiers.
    pub(crate) async fn invalidate_matching(
        &self,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<Matched, Error> {
        let mut result = Ok(Matched::NONE);
        for (config, store) in self.lower.iter().rev() {
            let context = self.tokio_context_of(store.settings());
            match store.invalidate_matching(context, function, glob).await {
                Ok(matched) => result = result.map(|before| before.in_both(matched)),
                Err(error) => result = Err(not_invalidated(&function.name, *config, store, error)),
            }
        }
        result
    }

    /// The Tokio runtime that operations of a tier with these settings need. `None` for a tier that
    /// works without one, once the runtime has ended.
    pub(crate) fn tokio_context_of(&self, tier: &TierSettings) -> Option<&TokioContext> {
        let context = self.tokio_context.get()?;
        let is_dispensable = context.has_ended() && tier.works_without_runtime;
        (!is_dispensable).then_some(context)
    }

    /// The instances of a generic function that the lower tiers have records of, and the error of a
    /// tier that could not list them.
    pub(crate) async fn instances(
        &self,
        name: &str,
        version: u32,
    ) -> (Vec<FunctionKey>, Option<Error>) {
        let (mut found, mut failed) = (Vec::new(), None);
        for (_, store) in &self.lower {
            let context = self.tokio_context_of(store.settings());
            let (instances, error) = store.instances(context, name, version).await;
            found.extend(instances);
            failed = error.or(failed);
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found.dedup();
        (found, failed)
    }

    /// All levels of the runtime, in look-up order.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let memory = self.memory.iter().map(|_| Level::L1);
        let lower = self.lower.iter().map(|(config, _)| config.level());
        memory.chain(lower).collect()
    }

    /// The memory tier, if there is one.
    #[inline]
    pub(crate) fn memory(&self) -> Option<&MemoryTier> {
        self.memory.as_ref().map(|(_, memory)| memory)
    }
}

/// Begins the span of a change that concerns all functions.
fn change(operation: &'static str, scope: &'static str) -> Span {
    let change = Change {
        operation,
        scope,
        function: None,
    };
    change.span(|| None)
}

fn not_invalidated(what: &str, config: TierConfig, store: &Store, error: Error) -> Error {
    let (level, kind) = (config.level(), store.settings().kind);
    let problem = format!("`{what}` was not invalidated in {level} ({kind})");
    Error::with_source(error.kind(), problem, error)
}
