//! The runtime: the owner of the tiers, and the choice of the runtime that a call uses.

pub(crate) mod builder;
mod matching;
#[cfg(feature = "inspect")]
mod observed;
mod operations_table;
pub(crate) mod report;
mod scope;
mod uncalled;

use std::any::TypeId;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, LazyLock, Mutex, PoisonError, RwLock, RwLockReadGuard, Weak};

use once_cell::sync::OnceCell;

pub use self::report::{RuntimeHealth, Snapshot};
use crate::background::BackgroundLoads;
use crate::cached_function::CachedFunction;
use crate::clock::Clock;
use crate::codec::Encodings;
use crate::error::{Error, ErrorKind};
use crate::events::Event;
use crate::fence::{FencedAfter, Fences};
use crate::function::definition::Definition;
use crate::function::plan::Plan;
use crate::join::join_all;
use crate::state::{Defaults, RuntimeState};
use crate::stats::{FunctionStats, Stats};
use crate::tier::config::TierConfig;
use crate::tier::memory::{Memory, MemoryTier};
use crate::tier::{Receipt, TierStatus};

/// Owner of the tiers of a process, of the fences and of the flights. All clones are one runtime.
///
/// A program installs a runtime in `main`. A test gives each task its own by
/// [`scope`](Self::scope). Without either, functions use a default runtime that has memory alone.
#[derive(Clone)]
pub struct CacheRuntime(Arc<Shared>);

struct Shared {
    state: Arc<RuntimeState>,
    /// Functions that were called in this runtime. A function that was built at run time is removed
    /// once it no longer exists, when another function is bound.
    ///
    /// Lock rule: the lock is never held across an await, nor while user code runs.
    bound: RwLock<HashMap<SlotKey, Arc<CachedFunction>>>,
    /// The sum of the statistics of the functions that were removed.
    ///
    /// Lock rule: the lock is never held across an await, nor while user code runs.
    removed: Mutex<Option<FunctionStats>>,
    /// Set for the runtime that calls use if none is installed.
    is_default: bool,
}

/// Key of a bound function: the number of its slot, and the types of its instantiation.
type SlotKey = (u64, Option<TypeId>);

static INSTALLED: OnceCell<CacheRuntime> = OnceCell::new();
static DEFAULT: LazyLock<CacheRuntime> = LazyLock::new(CacheRuntime::memory_alone);

impl Shared {
    /// Adds the statistics of a function that is removed to those of the others. Returns `false`.
    #[cold]
    fn keep_sum_of(&self, function: &CachedFunction) -> bool {
        let stats = function.stats();
        let mut removed = self.removed.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *removed {
            Some(sum) => sum.merge(&stats),
            None => *removed = Some(stats),
        }
        false
    }
}

impl CacheRuntime {
    pub(crate) fn new(state: RuntimeState) -> Self {
        Self::of(state, false)
    }

    fn of(state: RuntimeState, is_default: bool) -> Self {
        Self(Arc::new(Shared {
            state: Arc::new(state),
            bound: RwLock::default(),
            removed: Mutex::default(),
            is_default,
        }))
    }

    fn memory_alone() -> Self {
        let memory = Memory::default().build().ok();
        let entries = memory.as_ref().map_or(0, |memory| memory.entries);
        let state = RuntimeState::new(
            memory.map(|memory| (TierConfig::as_l1(), memory)),
            Vec::new(),
            Arc::new(Fences::for_entries(entries, false)),
            Clock::System,
            Encodings::builtin(),
            Defaults::default(),
        );
        Self::of(state, true)
    }

    pub(crate) fn install(self) -> Result<Self, Error> {
        INSTALLED.try_insert(self).cloned().map_err(|_| {
            Error::new(
                ErrorKind::AlreadyInstalled,
                "a runtime is already installed",
            )
            .with_help("a test can give its task another one by `CacheRuntime::scope`")
        })
    }

    /// Checks that the installed runtime can serve a function. A function for a task's own runtime
    /// is not checked.
    ///
    /// # Errors
    /// As [`install`](crate::RuntimeBuilder::install).
    pub(crate) fn check(definition: &Definition) -> Result<(), Error> {
        match Self::installed().filter(|_| !Self::is_in_scope()) {
            Some(runtime) => Plan::check(definition, &runtime.0.state),
            None => Ok(()),
        }
    }

    pub(crate) fn state(&self) -> &Arc<RuntimeState> {
        &self.0.state
    }

    pub(crate) fn installed() -> Option<&'static Self> {
        INSTALLED.get()
    }

    pub(crate) fn default_of_process() -> &'static Self {
        &DEFAULT
    }

    /// Returns a function as this runtime serves it. The first call binds it.
    ///
    /// `life` is that of a function that was built at run time: the weak pointer can be upgraded as
    /// long as the function exists.
    pub(crate) fn bind(
        &self,
        key: SlotKey,
        definition: &Definition,
        life: Option<Weak<()>>,
        name: impl FnOnce() -> String,
    ) -> Arc<CachedFunction> {
        if let Some(bound) = self.bound().get(&key) {
            return Arc::clone(bound);
        }
        let shared = &*self.0;
        let mut all = shared.bound.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(bound) = all.get(&key) {
            return Arc::clone(bound);
        }
        all.retain(|_, bound| bound.is_alive() || shared.keep_sum_of(bound));
        let name = name();
        let is_taken = all.values().any(|other| other.name() == name);
        let plan = match is_taken {
            true => Err(Error::new(
                ErrorKind::DuplicateFunction,
                format!("`{name}`, an instance of {definition}, has the name of another function"),
            )),
            false => Plan::new(definition, &shared.state),
        };
        let plan =
            plan.unwrap_or_else(|problem| Plan::memory_alone(definition, &shared.state, problem));
        let problem = plan.problem.clone();
        let has_memory = plan.memory.is_some();
        let bound = CachedFunction::new(name, plan, life, Arc::clone(&shared.state));
        all.insert(key, Arc::clone(&bound));
        // The subscriber of the log is user code, which may call cached functions.
        drop(all);
        if let Some(problem) = problem {
            self.log_fallback(&problem, has_memory);
        }
        bound
    }

    fn log_fallback(&self, problem: &Error, has_memory: bool) {
        let runtime = match self.0.is_default {
            true => "none is installed: memory with its defaults",
            false => "built by the program",
        };
        let consequence = match has_memory {
            true => "uses memory alone",
            false => "is not cached",
        };
        tracing::warn!(
            target: "multi_tier_cached::function",
            error = %problem,
            runtime,
            "the runtime cannot serve a function; the function {consequence}"
        );
    }

    fn bound(&self) -> RwLockReadGuard<'_, HashMap<SlotKey, Arc<CachedFunction>>> {
        let bound = &self.0.bound;
        bound.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Invalidates every value of every function, in every tier and on every instance of their
    /// namespaces. The cost does not depend on the number of values.
    ///
    /// # Errors
    /// A tier is unreachable and does not queue the invalidation. The other tiers are invalidated.
    ///
    /// # Cancel safety
    /// If the future is dropped after its first poll, every tier that it did not reach still
    /// receives the invalidation, if the tier can accept one without waiting.
    pub async fn invalidate_all(&self) -> Result<Receipt, Error> {
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.0.state.invalidate_all().await
    }

    fn fence_off_all(&self) {
        for bound in self.bound().values() {
            bound.fence_off_all();
        }
    }

    /// Returns the counters since the runtime was built, by function. Cheap.
    ///
    /// Every runtime has the functions that were called in it. The installed runtime also has those
    /// that were not called yet, with zeros, and so does the default one if none is installed: the
    /// [annotated functions](crate::registered_functions) of the program, and the functions that
    /// were built outside of every [`scope`](Self::scope) and still exist. A generic function or a
    /// method appears with its first call, because each choice of its types is a function of its
    /// own.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.stats_and_removed().0
    }

    /// Returns the statistics, and the sum of those of functions that no longer exist, under the
    /// name of one of them. Each function is in one of the two.
    pub(crate) fn stats_and_removed(&self) -> (Stats, Option<FunctionStats>) {
        let (mut bound, removed) = {
            let bound = self.bound();
            // A function is moved from one to the other under the lock.
            let removed = self.0.removed.lock();
            let removed = removed.unwrap_or_else(PoisonError::into_inner).clone();
            (bound.values().cloned().collect::<Vec<_>>(), removed)
        };
        // Statistics are large, and sorting them again is no work if they are in order.
        bound.sort_unstable_by(|a, b| a.name().cmp(b.name()));
        let mut functions: Vec<_> = bound.iter().map(|bound| bound.stats()).collect();
        self.add_uncalled(&mut functions);
        functions.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let state = &self.0.state;
        let stats = Stats {
            functions,
            tag_invalidations: state.tag_invalidations.get(),
            tag_expiries: state.tag_expiries.get(),
            invalidations_of_all: state.invalidations_of_all.get(),
        };
        (stats, removed)
    }

    /// Returns the events of the runtime with a [number](Event::number) above `after`, the oldest
    /// first. Begin with 0, and continue with the number of the last one.
    ///
    /// The last 512 are kept. A larger gap between `after` and the first number says that events
    /// were dropped in between.
    #[must_use]
    pub fn events(&self, after: u64) -> Vec<Event> {
        let noted = self.0.state.events.after(after);
        if noted.is_empty() {
            return Vec::new();
        }
        let bound = self.bound();
        let names = bound
            .values()
            .map(|one| (one.function_digest(), one.name()));
        let names: HashMap<u64, &str> = names.collect();
        let name = |digest| names.get(&digest).map(|name| (*name).to_owned());
        noted.into_iter().map(|noted| noted.named(name)).collect()
    }

    /// Returns the status of the tiers below memory, in look-up order, without a request to them.
    #[must_use]
    pub fn tiers(&self) -> Vec<TierStatus> {
        let lower = self.0.state.lower.iter();
        lower
            .map(|(config, store)| store.status(config.level()))
            .collect()
    }

    /// Pings the tiers below memory, and each shard of them, at the same time and within their time
    /// limits, and returns their health. A tier that answers is not healthy either if its last five
    /// or more reads, leases or fills failed; [`last_error`](TierStatus::last_error) is the reason.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn health(&self) -> RuntimeHealth {
        let state = &self.0.state;
        let pings = state.lower.iter().map(|(config, store)| {
            let tokio_context = state.tokio_context_of(store.settings());
            store.ping(config.level(), tokio_context)
        });
        RuntimeHealth {
            tiers: join_all(pings).await,
        }
    }

    /// Returns the health of each tier and the statistics of each function, as one value that can
    /// be serialized.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn snapshot(&self) -> Snapshot {
        let stats = self.stats();
        Snapshot {
            loads_under_way: self.loads_under_way(),
            background_loads: self.background_loads(),
            entries_in_memory: self.entries_in_memory(),
            tiers: self.health().await.tiers,
            functions: stats.functions,
            tag_invalidations: stats.tag_invalidations,
            tag_expiries: stats.tag_expiries,
            invalidations_of_all: stats.invalidations_of_all,
        }
    }

    /// Returns the number of loads that run, or wait for another instance, of all functions.
    #[must_use]
    pub fn loads_under_way(&self) -> usize {
        self.0.state.flights.len()
    }

    /// Returns the number of loads that run or wait in the background, of all functions: their
    /// callers were answered with a value that is stale or about to expire, or by a timeout. Each
    /// load that runs is one of the [`loads_under_way`](Self::loads_under_way) as well.
    #[must_use]
    pub fn background_loads(&self) -> BackgroundLoads {
        let state = &self.0.state;
        let mut numbers = state.loads.numbers();
        // None of them waits for a place.
        let handed_over = state.handed_over.numbers();
        numbers.running += handed_over.running + handed_over.waiting;
        numbers
    }

    /// Returns the approximate number of entries in memory, of all functions. Expired entries are
    /// included until they are evicted.
    #[must_use]
    pub fn entries_in_memory(&self) -> u64 {
        self.0.state.memory().map_or(0, MemoryTier::len)
    }

    /// Closes the connections of the tiers and ends their tasks. Calls after it are served from
    /// memory and by their bodies.
    ///
    /// Loads in the background are dropped first, while the tiers can still release their leases.
    /// This waits up to 100 ms for those that block their threads.
    ///
    /// Redis first receives the queued invalidations, in batches of 256, each within the tier's
    /// time limit. This ends when a batch fails, or after ten seconds.
    ///
    /// # Errors
    /// The error of the first tier that could not shut down in order. All tiers are shut down.
    ///
    /// # Cancel safety
    /// Cancel safe; call it again to finish.
    pub async fn shutdown(&self) -> Result<(), Error> {
        let state = &*self.0.state;
        state.loads.end();
        state.handed_over.end();
        state.loads.ended().await;
        state.handed_over.ended().await;
        state.background.end();
        let mut result = Ok(());
        for (_, store) in &state.lower {
            let tokio_context = state.tokio_context_of(store.settings());
            result = result.and(store.shutdown(tokio_context).await);
        }
        result
    }
}

impl fmt::Debug for CacheRuntime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CacheRuntime")
            .field("levels", &self.0.state.levels())
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, not(schedules)))]
mod tests;
