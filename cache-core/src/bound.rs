//! A function bound to a runtime: the one place that reads, commits and invalidates its values.
//!
//! Whatever makes a value (a miss, a refresh, a put, a copy from a lower tier) stores it in this module and through
//! [`CachedFunction::fill`], under the number of its load and the lease that was taken before.

mod fill;
mod find;
mod invalidate;
mod keep;
mod lower;
mod promote;
mod visit;

use std::borrow::Cow;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};

pub(crate) use self::invalidate::FencedAfter;
use self::lower::{RecordsWork, TierBinding};
pub(crate) use self::visit::{LeaseTurn, TierHit, TierLookup, TierVisits};
use crate::clock::{Moment, Reading};
use crate::codec::{Encoding, Shape, ValueType};
use crate::coherence::Coherence;
use crate::entry::{Entry, Held};
use crate::error::Error;
use crate::fence::{FunctionFence, Stripe};
use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
use crate::function::plan::Plan;
use crate::key::{FunctionId, Key, KeyRef, Piece, function_seed, name_hash};
use crate::level::Level;
use crate::state::RuntimeState;
use crate::stats::{FunctionCounters, FunctionStats, TierCounters};
use crate::tier::config::Lives;
use crate::tier::{FunctionKey, LeaseMode, Stamp};
use crate::tokio_context::TokioContext;

/// A function in one runtime.
#[derive(Debug)]
pub(crate) struct CachedFunction {
    /// For what is done after a call.
    this: Weak<Self>,
    pub(crate) id: FunctionId,
    /// What the hash of its keys begins with.
    pub(crate) seed: u64,
    pub(crate) state: Arc<RuntimeState>,
    pub(crate) counters: FunctionCounters,
    pub(crate) fence: Arc<FunctionFence>,
    name: String,
    /// The same without its types.
    declared_name: Cow<'static, str>,
    /// Of a function that was made at run time and may go away.
    life: Option<Weak<()>>,
    /// In the digest of each record.
    name_hash: u64,
    function: Arc<FunctionKey>,
    template: &'static [Piece],
    /// How long values live in memory; `None` where the function does not answer from it.
    memory: Option<(Lives, TierCounters)>,
    /// How long they live there of a function that answers with them only where a lower tier has the same.
    sealed: Option<Lives>,
    lower: Vec<TierBinding>,
    /// Those that are told of invalidations, and not used.
    disabled: Vec<TierBinding>,
    /// What is known of invalidations by other instances, of each tier that is shared.
    coherence: Vec<Arc<Coherence>>,
    /// A plain function: its calls wait on their threads.
    pub(crate) is_blocking: bool,
    when_isolated: WhenIsolated,
    single_flight: SingleFlight,
    consistency: Consistency,
    /// Set once the log says that errors of the function cannot be shared.
    unshared_errors_reported: AtomicBool,
    encoding: Encoding,
    /// Why it is not as the function asks.
    flaw: Option<Error>,
    shape: OnceLock<Shape>,
    records: RecordsWork,
}

static NEXT_ID: AtomicU32 = AtomicU32::new(0);

impl CachedFunction {
    pub(crate) fn new(
        name: String,
        plan: Plan,
        life: Option<Weak<()>>,
        state: Arc<RuntimeState>,
    ) -> Arc<Self> {
        let definition = plan.definition;
        let lower: Vec<_> = plan.lower.into_iter().map(TierBinding::new).collect();
        let disabled: Vec<_> = plan.disabled.into_iter().map(TierBinding::new).collect();
        let id = FunctionId(NEXT_ID.fetch_add(1, Ordering::Relaxed));
        // What was bound before and is gone heard of no invalidation since: nothing of it counts.
        let fence = Arc::new(FunctionFence::at(state.fences.next()));
        let function = Arc::new(FunctionKey::new(&name, definition.version));
        let coherence: Vec<_> = lower.iter().filter_map(TierBinding::coherence).collect();
        let strong = definition.consistency == Consistency::Strong && !lower.is_empty();
        // Other instances can invalidate only what shares a tier with them. A function that does
        // not use the tier must not lose its values when the channel of the tier is lost.
        let told = lower.iter().chain(&disabled);
        if told.filter_map(TierBinding::coherence).next().is_some() {
            state.fences.share(function.digest, &fence);
        }
        Arc::new_cyclic(|this| Self {
            this: Weak::clone(this),
            id,
            seed: function_seed(state.seed, id),
            counters: FunctionCounters::default(),
            fence,
            function,
            coherence,
            is_blocking: definition.is_blocking,
            when_isolated: definition
                .when_isolated
                .unwrap_or(state.defaults.when_isolated),
            single_flight: definition.single_flight,
            consistency: definition.consistency,
            template: definition.template,
            // A strong function does not answer from it without asking.
            memory: plan
                .memory
                .filter(|_| !strong)
                .map(|lives| (lives, TierCounters::default())),
            sealed: plan.memory.filter(|_| strong),
            lower,
            disabled,
            unshared_errors_reported: AtomicBool::new(false),
            encoding: plan.encoding,
            flaw: plan.problem,
            shape: OnceLock::new(),
            records: RecordsWork::unknown(),
            name_hash: name_hash(&name),
            name,
            declared_name: definition.name,
            life,
            state,
        })
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.life
            .as_ref()
            .is_none_or(|life| life.strong_count() > 0)
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether it is meant by a name: its own, or that of the generic function that it is an instance of.
    pub(crate) fn is_called(&self, name: &str) -> bool {
        self.name == name || self.declared_name == name
    }

    /// The value in memory, if it counts: its time is not over, its fence not raised, and this instance knows what others
    /// have invalidated.
    #[inline]
    pub(crate) fn hit<V>(&self, key: &KeyRef<'_>, value_type: &ValueType<V>) -> Option<V> {
        let (_, counters) = self.memory.as_ref()?;
        let value = self.get_valid(key).and_then(value_type.give);
        match value {
            Some(_) => counters.hits.add_one(),
            None => counters.misses.add_one(),
        }
        value
    }

    /// What memory has of a key that still counts. The same for every type, and compiled once.
    fn get_valid(&self, key: &KeyRef<'_>) -> Option<Held> {
        let now = self.coherent_now();
        let entry = self.state.memory()?.get(key)?;
        if self.is_valid_entry(&entry, now?) {
            entry.into_value(false)
        } else {
            None
        }
    }

    /// The same for a second look: no hit, no use.
    pub(crate) fn peek(&self, key: &KeyRef<'_>) -> Option<Held> {
        self.peek_entry(key, false, self.coherent_now()?)
    }

    fn peek_entry(&self, key: &KeyRef<'_>, is_isolated: bool, now: Moment) -> Option<Held> {
        self.memory.as_ref()?;
        let entry = self.state.memory()?.peek(key)?;
        if self.is_valid_entry(&entry, now) {
            entry.into_value(is_isolated)
        } else {
            None
        }
    }

    /// The value that memory may give to a call whose lower tiers could not be asked.
    pub(crate) fn serve_isolated(&self, key: &KeyRef<'_>) -> Option<Held> {
        let (_, counters) = self.memory.as_ref()?;
        let held = self.peek_isolated(key)?;
        counters.isolated_hits.add_one();
        Some(held)
    }

    /// As [`serve_isolated`](Self::serve_isolated), for a look that is not counted.
    pub(crate) fn peek_isolated(&self, key: &KeyRef<'_>) -> Option<Held> {
        match self.when_isolated {
            WhenIsolated::Serve => self.peek_entry(key, true, self.state.clock.now()),
            WhenIsolated::Load => None,
        }
    }

    /// The time, if this instance knows by now of every invalidation by others that is older than the bound.
    ///
    /// To be asked before the fences are looked at: what is known when it is answered has raised them. Asked after, the channel
    /// may have come back in between.
    #[inline]
    fn coherent_now(&self) -> Option<Moment> {
        if self.coherence.is_empty() {
            return Some(self.state.clock.now());
        }
        let reading = Reading::now();
        let holds = self.coherence.iter().all(|one| one.holds_at(reading));
        holds.then(|| self.state.clock.at(reading))
    }

    /// Whether a call may take what the load with this number brings, which began then.
    ///
    /// Who does not hear of others has no fence raised by them: then it is the load's age that tells, except where memory
    /// may go on without the others.
    pub(crate) fn may_join(&self, key: &Key, start: u64, began: Moment) -> bool {
        let fences = &self.state.fences;
        fences.is_current(start, self.stripe(key), &self.fence)
            && self.coherence.iter().all(|coherence| {
                coherence.holds()
                    || self.state.clock.now().since(began) < coherence.bound()
                    || (self.when_isolated == WhenIsolated::Serve && self.is_cut_off())
            })
    }

    /// Whether a tier that others share cannot be asked.
    fn is_cut_off(&self) -> bool {
        self.lower.iter().any(TierBinding::is_cut_off)
    }

    /// The async runtime that its tiers work in.
    pub(crate) fn tokio_context(&self) -> Option<&TokioContext> {
        self.state
            .tokio_context
            .get()
            .filter(|_| !self.is_memory_alone())
    }

    /// Returns `true` if the caller is in the async runtime of the tiers.
    pub(crate) fn is_in_tokio_context(&self) -> bool {
        self.tokio_context().is_some_and(TokioContext::is_here)
    }

    /// Whether no tier has to be told of an invalidation.
    fn is_memory_alone(&self) -> bool {
        self.lower.is_empty() && self.disabled.is_empty()
    }

    /// # Errors
    /// Where nothing is kept, and why.
    pub(crate) fn check_kept(&self) -> Result<(), Error> {
        if self.has_lower() || self.memory.is_some() || self.sealed.is_some() {
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

    /// Whether there are tiers below memory.
    pub(crate) fn has_lower(&self) -> bool {
        !self.lower.is_empty()
    }

    /// Whether each call asks the lower tiers, whatever is known here.
    pub(crate) fn is_strong(&self) -> bool {
        self.consistency == Consistency::Strong && !self.lower.is_empty()
    }

    /// Notes a call whose arguments make no key.
    #[cold]
    pub(crate) fn has_no_key(&self, error: &Error) {
        self.counters.key_errors.add_one();
        tracing::debug!(error = ?error, "a call has no key and is not cached");
    }

    /// Says once that the function's errors cannot be shared with waiting calls, after one of them waited in vain.
    pub(crate) fn report_unshared_errors(&self) {
        if !self.unshared_errors_reported.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                function = %self.name,
                "a load failed, and its error cannot be shared: each call that waited for it runs the body; help: make \
                 the error type `Clone` (an `Arc` around the cause), or set `share_error`"
            );
        }
    }

    /// What a miss claims in the lower tiers.
    pub(crate) fn claim(&self) -> LeaseMode {
        match self.single_flight {
            SingleFlight::Cluster => LeaseMode::Exclusive,
            SingleFlight::Process => LeaseMode::Shared,
        }
    }

    /// The same in every process, and different for different keys, as far as 64 bits go.
    fn digest(&self, key: &Key) -> u64 {
        key.digest(self.name_hash) as u64
    }

    fn stripe(&self, key: &Key) -> Stripe {
        Stripe::of(self.digest(key))
    }

    /// Whether memory answers those who come after a load.
    pub(crate) fn has_memory(&self) -> bool {
        self.memory.is_some() && self.state.memory().is_some()
    }

    /// Whether an entry is in time and was not fenced off.
    #[inline]
    fn is_valid_entry(&self, entry: &Entry, now: Moment) -> bool {
        self.state
            .fences
            .is_current(entry.start, entry.stripe(), &self.fence)
            && entry.dies > now
    }

    /// What records in a tier of this instance alone carry where others invalidate too: such a tier is told of nothing, so they
    /// count as entries in memory do, by the number of their load, and only as long as this runtime lives.
    fn own_stamp(&self, start: u64) -> Stamp {
        Stamp {
            epoch: start,
            history: self.state.run,
        }
    }

    /// Whether a record of such a tier counts. `is_known` says that this instance knew what others invalidate before the record
    /// was looked at.
    fn is_valid_stamp(&self, stamp: Stamp, key: &Key, is_known: bool) -> bool {
        stamp.history == self.state.run
            && self
                .state
                .fences
                .is_current(stamp.epoch, self.stripe(key), &self.fence)
            && (is_known || (self.when_isolated == WhenIsolated::Serve && self.is_cut_off()))
    }

    pub(crate) fn stats(&self) -> FunctionStats {
        let memory = self
            .memory
            .iter()
            .map(|(_, counters)| counters.snapshot(Level::L1));
        let lower = self.lower.iter().map(TierBinding::stats);
        let tiers = memory.chain(lower).collect();
        self.counters
            .snapshot(self.name.clone(), self.function.version, tiers)
    }
}
