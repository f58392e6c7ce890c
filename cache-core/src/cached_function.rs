//! A function as one runtime caches it.
//!
//! [`CachedFunction`] is made once for each function (and for each choice of types of a generic
//! one) in each runtime, from the function's definition and the tiers of the runtime. It knows
//! which tiers the function uses and for how long values live in each ([`TierBinding`]), which
//! values are valid ([`validity`]), how values become records ([`Records`]), and how they are
//! invalidated ([`invalidate`]). The steps of a call are in [`load`](crate::load).

mod binding;
mod channels;
mod expire;
mod invalidate;
mod records;
mod reports;
mod stand_in;
mod traced;
mod validity;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak};

pub(crate) use self::binding::TierBinding;
use self::channels::Channels;
pub(crate) use self::records::{Expected, InvalidRecord, OpenedRecord, Records};
use crate::call_trace::{TracedCall, UntilDropped};
use crate::error::Error;
use crate::fence::{FunctionFence, Stripe};
use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
use crate::function::plan::Plan;
use crate::function::tags::TagTemplates;
use crate::function::times::Times;
#[cfg(feature = "inspect")]
use crate::inspect::{function::published_function, published::PublishedFunction};
use crate::key::{FunctionId, Key, Piece, function_seed, name_hash, render};
use crate::level::Level;
use crate::log_limit::LoadLogLimits;
use crate::state::RuntimeState;
use crate::stats::{FunctionCounters, FunctionStats, TierCounters};
use crate::tag::TagSet;
use crate::tier::config::Lives;
use crate::tier::shard::ShardCount;
use crate::tier::store::Store;
use crate::tier::{FunctionKey, LeaseMode, RecordKey};
use crate::tokio_context::TokioContext;

/// A function as one runtime caches it.
#[derive(Debug)]
pub(crate) struct CachedFunction {
    /// This function, for work that outlives the call that starts it.
    pub(crate) this: Weak<Self>,
    pub(crate) id: FunctionId,
    /// The start of the hash of each key.
    pub(crate) seed: u64,
    pub(crate) state: Arc<RuntimeState>,
    pub(crate) counters: FunctionCounters,
    pub(crate) fence: FunctionFence,
    /// The name with the types of a generic function, such as `find<app::User>`.
    name: String,
    /// The name without types.
    declared_name: Cow<'static, str>,
    /// Set for a function that was made at run time. It is dropped with the last handle of its
    /// owner.
    life: Option<Weak<()>>,
    key: Arc<FunctionKey>,
    template: &'static [Piece],
    tags: TagTemplates,
    /// How long values live in memory. `None` if memory does not answer the calls of the function.
    pub(crate) memory: Option<(Lives, TierCounters)>,
    /// How long values of a strong function live in memory. Each call still asks the lower tiers,
    /// which need not send a value that memory has.
    pub(crate) strong_memory: Option<Lives>,
    /// The lower tiers that the function uses, in look-up order.
    pub(crate) lower: Vec<TierBinding>,
    /// Lower tiers that an override disabled. They receive invalidations, because another instance
    /// may use them, and because they may be enabled again.
    disabled: Vec<TierBinding>,
    channels: Channels,
    /// Set for a function that is not async: its calls block their threads.
    pub(crate) is_blocking: bool,
    single_flight: SingleFlight,
    pub(crate) consistency: Consistency,
    when_isolated: WhenIsolated,
    pub(crate) times: Times,
    /// Set after the first report that errors of the function cannot be shared.
    unshared_errors_reported: AtomicBool,
    /// Set after the first report of a value that was not kept because of its tags.
    tag_error_reported: AtomicBool,
    /// Limits on the log lines about loads that fail or are dropped.
    log_limits: LoadLogLimits,
    pub(crate) records: Arc<Records>,
    /// The description of the function for tools, without the fingerprint of its values.
    #[cfg(feature = "inspect")]
    pub(crate) published: PublishedFunction,
    /// Why the function does not have the tiers that it asks for.
    flaw: Option<Error>,
    /// Set for the stand-in of a function in a call that is traced.
    pub(crate) stand_in: Option<Box<StandIn>>,
}

/// The function that a stand-in is for, in one call that is traced.
#[derive(Debug)]
pub(crate) struct StandIn {
    pub(crate) original: Arc<CachedFunction>,
    /// The trace of the look-up, if it has found something. The lock is never held across an await.
    pub(crate) noted: Mutex<Option<TracedCall>>,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl CachedFunction {
    pub(crate) fn new(
        name: String,
        plan: Plan,
        life: Option<Weak<()>>,
        state: Arc<RuntimeState>,
    ) -> Arc<Self> {
        #[cfg(feature = "inspect")]
        let published = published_function(&name, &plan);
        let id = FunctionId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        let strong = plan.is_strong();
        let definition = plan.definition;
        let is_marked = definition.is_marked();
        let key = FunctionKey::new(&name, definition.version).marked(is_marked);
        let key = Arc::new(key);
        let times = definition.times;
        let bind = |planned| TierBinding::new(planned, times.jitter);
        let lower: Vec<_> = plan.lower.into_iter().map(bind).collect();
        let disabled: Vec<_> = plan.disabled.into_iter().map(bind).collect();
        let shared = lower.iter().chain(&disabled).map(|tier| &*tier.store);
        let shared = shared.filter(|store| store.is_shared());
        let most = |count: ShardCount, store: &Store| count.max(store.count());
        let shards = shared.clone().fold(ShardCount::ONE, most);
        // If the function was cached before and then dropped, it missed the invalidations since.
        // The fence voids everything that was kept then.
        let fence = FunctionFence::sharded(state.fences.next(), shards);
        let channels = Channels::new(lower.iter().map(|tier| &*tier.store), shards);
        // Other instances can invalidate a function only through a tier that it shares with them. A
        // function without one must not lose its values when the channel of a tier is lost.
        if shared.count() > 0 {
            state.fences.share(key.digest, &fence);
        }
        if definition.tags.are_declared() {
            state.fences.make_tags();
        }
        if is_marked {
            lower.iter().for_each(|tier| tier.store.enable_ledger());
        }
        let records = Records::new(&key, name_hash(&name), plan.encoding, &definition);
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            id,
            seed: function_seed(state.seed, id),
            counters: FunctionCounters::default(),
            fence,
            channels,
            is_blocking: definition.is_blocking,
            single_flight: definition.single_flight,
            consistency: definition.consistency,
            when_isolated: definition
                .when_isolated
                .unwrap_or(state.defaults.when_isolated),
            times,
            template: definition.template,
            tags: definition.tags.clone(),
            memory: plan
                .memory
                .filter(|_| !strong)
                .map(|lives| (lives, TierCounters::default())),
            strong_memory: plan.memory.filter(|_| strong),
            lower,
            disabled,
            unshared_errors_reported: AtomicBool::new(false),
            tag_error_reported: AtomicBool::new(false),
            log_limits: LoadLogLimits::default(),
            records: Arc::new(records),
            #[cfg(feature = "inspect")]
            published,
            flaw: plan.problem,
            stand_in: None,
            key,
            name,
            declared_name: definition.name,
            life,
            state,
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        let life = self.life.as_ref();
        life.is_none_or(|life| life.strong_count() > 0)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Returns `true` if `name` is the function's name, or the name of the generic function that
    /// this is an instance of.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.declared_name == name
    }

    /// The Tokio runtime in which the function's tiers work. `None` if it has no tiers below
    /// memory.
    pub(crate) fn tokio_context(&self) -> Option<&TokioContext> {
        let context = self.state.tokio_context.get();
        context.filter(|_| !self.is_memory_alone())
    }

    /// Returns `true` if the caller is in the Tokio runtime of the tiers.
    pub(crate) fn is_in_tokio_context(&self) -> bool {
        self.tokio_context().is_some_and(TokioContext::is_here)
    }

    /// Returns `true` if an invalidation concerns memory alone.
    pub(crate) fn is_memory_alone(&self) -> bool {
        self.lower.is_empty() && self.disabled.is_empty()
    }

    /// Returns an error that says why values of the function cannot be kept, if they cannot.
    pub(crate) fn check_kept(&self) -> Result<(), Error> {
        if self.has_lower() || self.memory.is_some() || self.strong_memory.is_some() {
            return Ok(());
        }
        let what = format!(
            "a value of `{}` cannot be kept: the function is not cached",
            self.name
        );
        Err(match self.flaw.clone() {
            Some(flaw) => Error::with_source(flaw.kind(), what, flaw),
            None => Error::configuration(what),
        })
    }

    /// Returns the lower tiers that an override disabled.
    pub(crate) fn disabled(&self) -> &[TierBinding] {
        &self.disabled
    }

    /// Returns why the function does not have the tiers that it asks for, if it has not.
    pub(crate) fn flaw(&self) -> Option<&Error> {
        self.flaw.as_ref()
    }

    /// Returns the version of the function.
    pub(crate) fn version(&self) -> u32 {
        self.key.version
    }

    /// Returns `true` if the function uses tiers below memory.
    pub(crate) fn has_lower(&self) -> bool {
        !self.lower.is_empty()
    }

    /// Returns `true` if memory answers the calls that come after a load.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some() && self.state.memory().is_some()
    }

    /// Returns `true` if each call asks the lower tiers, whatever memory has.
    pub(crate) fn is_strong(&self) -> bool {
        self.consistency == Consistency::Strong && !self.lower.is_empty()
    }

    /// The mode in which a miss takes its leases.
    pub(crate) fn lease_mode(&self) -> LeaseMode {
        match self.single_flight {
            SingleFlight::Cluster => LeaseMode::Exclusive,
            SingleFlight::Process => LeaseMode::Shared,
        }
    }

    /// The digest of a key. It is the same in every process, so that invalidation messages can name
    /// it.
    pub(crate) fn digest(&self, key: &Key) -> u64 {
        self.records.digest(&key.as_ref()) as u64
    }

    pub(crate) fn stripe(&self, key: &Key) -> Stripe {
        Stripe::of(self.digest(key))
    }

    /// The name of a key's record in the lower tiers.
    pub(crate) fn record_key(&self, key: &Key) -> RecordKey {
        RecordKey::new(
            Arc::clone(&self.key),
            render(key.as_ref().arguments, self.template),
            self.digest(key),
        )
    }

    /// Returns `true` if values of the function can have tags.
    pub(crate) fn is_tagged(&self) -> bool {
        self.tags.are_declared()
    }

    /// Returns `true` if the records of the function carry marks.
    pub(crate) fn is_marked(&self) -> bool {
        self.key.is_marked
    }

    /// Returns `true` if a stale value may be returned at all. An expiry invalidates otherwise.
    pub(crate) fn has_window(&self) -> bool {
        self.records.has_window()
    }

    /// Returns the tags that a value of the key has by its arguments.
    pub(crate) fn tags_of(&self, key: &Key) -> TagSet {
        self.tags.of(key.as_ref().arguments)
    }

    /// The digest of the function's name.
    pub(crate) fn function_digest(&self) -> u64 {
        self.key.digest
    }

    /// A record key without arguments, for a function whose tiers are not asked.
    pub(crate) fn record_key_without_arguments(&self) -> RecordKey {
        RecordKey::new(Arc::clone(&self.key), String::new(), 0)
    }

    /// Counts a call whose arguments cannot be made a key.
    #[cold]
    pub(crate) fn report_missing_key(&self, error: &Error) {
        self.counters.key_errors.add_one();
        tracing::debug!(target: "multi_tier_cached::function", error = ?error, "a call has no key and is not cached");
    }

    /// Counts a call that runs its body because the Tokio runtime of the tiers has ended. Its trace
    /// ends when the result is dropped.
    #[cold]
    pub(crate) fn report_no_runtime(&self) -> UntilDropped {
        self.counters.uncached.no_runtime.add_one();
        UntilDropped::uncached(|| self.name.clone())
    }

    /// Logs once that the function's errors cannot be shared, after a waiter had to run the body
    /// itself.
    pub(crate) fn report_unshared_errors(&self) {
        if !self.unshared_errors_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "multi_tier_cached::function",
                function = %self.name,
                "a load failed, and its error cannot be shared: each call that waited for it runs the body; help: make \
                 the error type `Clone` (an `Arc` around the cause), or set `share_error`"
            );
        }
    }

    pub(crate) fn stats(&self) -> FunctionStats {
        let memory = self.memory.iter();
        let memory = memory.map(|(_, counters)| counters.snapshot(Level::L1));
        let tiers = memory.chain(self.lower.iter().map(TierBinding::stats));
        let (name, tiers) = (self.name.clone(), tiers.collect());
        self.counters.snapshot(name, self.key.version, tiers)
    }
}
