//! The runtime: what owns the tiers, and how a process and a task come by theirs.

mod matching;
mod report;

use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::{Arc, LazyLock, PoisonError, RwLock, Weak};

use once_cell::sync::OnceCell;

pub use self::report::{RuntimeHealth, Snapshot};
use crate::bound::{CachedFunction, FencedAfter, Resolved};
use crate::builder::RuntimeBuilder;
use crate::clock::Clock;
use crate::codec::Encodings;
use crate::definition::Definition;
use crate::error::{Error, ErrorKind};
use crate::fence::Fences;
use crate::slot::{FunctionSlot, SlotKey};
use crate::state::{Defaults, RuntimeState, unlimited, with_time_limit};
use crate::stats::Stats;
use crate::tier::config::TierConfig;
use crate::tier::memory::Memory;
use crate::tier::{Receipt, TierStatus};

/// Owns the tiers of a process, the fences and the flights. Clones are the same runtime.
///
/// A program installs one in `main`; tests give each task its own with [`scope`](Self::scope). Where there is neither,
/// functions run on a default runtime that has memory alone.
#[derive(Clone)]
pub struct CacheRuntime(Arc<Shared>);

struct Shared {
    state: Arc<RuntimeState>,
    bound: RwLock<HashMap<SlotKey, Arc<CachedFunction>>>,
}

static INSTALLED: OnceCell<CacheRuntime> = OnceCell::new();
static DEFAULT: LazyLock<CacheRuntime> = LazyLock::new(CacheRuntime::memory_alone);

tokio::task_local! {
    static OF_TASK: CacheRuntime;
}

impl CacheRuntime {
    /// Begins to build a runtime.
    pub fn builder() -> RuntimeBuilder {
        RuntimeBuilder::new()
    }

    /// Begins to build a runtime from the environment; see [`RuntimeBuilder::from_env`] for the names.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration), naming the variable that cannot be used.
    pub fn from_env() -> Result<RuntimeBuilder, Error> {
        RuntimeBuilder::new().from_env()
    }

    pub(crate) fn new(state: RuntimeState) -> Self {
        Self(Arc::new(Shared {
            state: Arc::new(state),
            bound: RwLock::default(),
        }))
    }

    fn memory_alone() -> Self {
        let memory = Memory::default().build().ok();
        Self::new(RuntimeState::new(
            memory.map(|memory| (TierConfig::as_l1(), memory)),
            Vec::new(),
            Arc::new(Fences::new()),
            Clock::System,
            Encodings::builtin(),
            Defaults::default(),
        ))
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

    /// Whether a function can have what it asks, of the runtime that is installed, if one is.
    ///
    /// # Errors
    /// As [`install`](crate::RuntimeBuilder::install).
    pub(crate) fn check(definition: &Definition) -> Result<(), Error> {
        match Self::installed().filter(|_| Self::of_task().is_none()) {
            Some(runtime) => Resolved::check(definition, &runtime.0.state),
            None => Ok(()),
        }
    }

    /// The runtime that a call here would use: the task's own, the installed one, or the default.
    #[must_use]
    pub fn current() -> Self {
        Self::of_task()
            .or_else(|| Self::installed().cloned())
            .unwrap_or_else(|| Self::default_of_process().clone())
    }

    /// Runs `future` with `runtime` in place of the installed one, for the calls that its task makes. Tasks that it
    /// spawns are not covered; wrap them too.
    ///
    /// Calls, handles and invalidations act on the runtime where their future is first polled, wherever they were made:
    /// `scope(runtime, get_user::entry(42).refresh())` and `scope(runtime, invalidate!(get_user, 42))` act on `runtime`. A future
    /// that was polled outside before keeps the runtime of that poll.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    pub async fn scope<F: Future>(runtime: Self, future: F) -> F::Output {
        OF_TASK.scope(runtime, future).await
    }

    /// Runs `f` with `runtime` in place of the installed one, for the calls that it makes on this thread: for plain functions.
    pub fn scope_blocking<T>(runtime: Self, f: impl FnOnce() -> T) -> T {
        OF_TASK.sync_scope(runtime, f)
    }

    /// Whether the task has a runtime of its own.
    #[inline]
    pub(crate) fn is_in_scope() -> bool {
        OF_TASK.try_with(|_| ()).is_ok()
    }

    pub(crate) fn of_task() -> Option<Self> {
        OF_TASK.try_with(Self::clone).ok()
    }

    pub(crate) fn installed() -> Option<&'static Self> {
        INSTALLED.get()
    }

    pub(crate) fn default_of_process() -> &'static Self {
        &DEFAULT
    }

    /// The function as this runtime has it, bound on first use.
    pub(crate) fn bind(
        &self,
        key: SlotKey,
        definition: &Definition,
        life: Option<Weak<()>>,
        name: impl FnOnce() -> String,
    ) -> Arc<CachedFunction> {
        let shared = &*self.0;
        if let Some(bound) = shared
            .bound
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&key)
        {
            return Arc::clone(bound);
        }
        let mut all = shared.bound.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(bound) = all.get(&key) {
            return Arc::clone(bound);
        }
        all.retain(|_, bound| bound.is_alive());
        let name = name();
        let taken = all.values().any(|other| other.name() == name);
        let resolved = if taken {
            Err(Error::new(
                ErrorKind::DuplicateFunction,
                format!("`{name}`, an instance of {definition}, has the name of another function"),
            ))
        } else {
            Resolved::new(definition, &shared.state)
        };
        let resolved = resolved.unwrap_or_else(|error| {
            let resolved = Resolved::memory_alone(definition, &shared.state);
            let instead = match resolved.memory {
                Some(_) => "uses memory alone",
                None => "is not cached",
            };
            let runtime = match std::ptr::eq(shared, &*DEFAULT.0) {
                true => "none is installed: memory with its defaults",
                false => "built by the program",
            };
            tracing::warn!(error = %error, runtime, "a function cannot have what it asks for, and {instead}");
            resolved.because(error)
        });
        let bound =
            CachedFunction::new(name, definition, life, Arc::clone(&shared.state), resolved);
        all.insert(key, Arc::clone(&bound));
        bound
    }

    /// Drops every value of every function, in every tier and on every instance of their namespaces, at a cost that does not
    /// depend on how many there are.
    ///
    /// # Errors
    /// A tier that could not do it and does not queue; the others have.
    ///
    /// # Cancel safety
    /// Dropped after it was polled once, a tier that it has not come to is told all the same, where it can be without waiting.
    pub async fn invalidate_all(&self) -> Result<Receipt, Error> {
        self.fence_off_all();
        let _after = FencedAfter(|| self.fence_off_all());
        self.0.state.invalidate_all().await
    }

    fn fence_off_all(&self) {
        let all = self.0.bound.read().unwrap_or_else(PoisonError::into_inner);
        for bound in all.values() {
            bound.fence_off_all();
        }
    }

    /// What was counted since the runtime was built, for the functions that were called at least once. Cheap.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let bound = self.0.bound.read().unwrap_or_else(PoisonError::into_inner);
        let mut functions: Vec<_> = bound.values().map(|bound| bound.stats()).collect();
        functions.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        Stats { functions }
    }

    /// The tiers below memory, in look-up order.
    #[must_use]
    pub fn tiers(&self) -> Vec<TierStatus> {
        let lower = self.0.state.lower.iter();
        lower
            .map(|(config, tier)| TierStatus {
                level: config.level(),
                kind: tier.settings().kind,
                breaker: tier.breaker(),
                health: tier.health(),
                answered_in: None,
                last_error: None,
            })
            .collect()
    }

    /// The health of the tiers below memory. Each is pinged, within its time limit. A tier that answers and whose last five or
    /// more reads, leases or fills all failed is not well either; [`last_error`](TierStatus::last_error) says why.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn health(&self) -> RuntimeHealth {
        let mut tiers = self.tiers();
        for (status, (_, tier, watch)) in tiers.iter_mut().zip(self.0.state.watched()) {
            let within = tier.settings().time_limit;
            let tokio_context = self.0.state.tokio_context_of(&**tier);
            match with_time_limit(tokio_context, within, tier.ping(within)).await {
                Ok(took) => {
                    status.answered_in = Some(took);
                    status.last_error = watch.last_error(tier.link());
                }
                Err(error) => status.last_error = Some(format!("{error:?}")),
            }
        }
        RuntimeHealth { tiers }
    }

    /// All there is to tell at this moment, in one piece that can be serialized: each tier's health, each function's statistics.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn snapshot(&self) -> Snapshot {
        Snapshot {
            loads_under_way: self.loads_under_way(),
            entries_in_memory: self.entries_in_memory(),
            tiers: self.health().await.tiers,
            functions: self.stats().functions,
        }
    }

    /// Loads that run or wait for another instance at this moment, of all functions.
    #[must_use]
    pub fn loads_under_way(&self) -> usize {
        self.0.state.flights.len()
    }

    /// Entries in memory now, of all functions, about: entries whose time is over count until they are evicted.
    #[must_use]
    pub fn entries_in_memory(&self) -> u64 {
        self.0
            .state
            .memory()
            .map_or(0, crate::tier::memory::MemoryTier::len)
    }

    /// Ends what the tiers run beside the calls: connections, their tasks. After it calls are served from memory and by
    /// their bodies.
    ///
    /// Redis is first sent the invalidations that are queued: as long as portions of 256 get through,
    /// each within the tier's time limit, for ten seconds in all.
    ///
    /// # Errors
    /// The first tier's that could not end in order; all are ended.
    ///
    /// # Cancel safety
    /// Cancel safe; call it again to finish.
    pub async fn shutdown(&self) -> Result<(), Error> {
        self.0.state.background.end();
        let mut result = Ok(());
        for (_, tier) in &self.0.state.lower {
            let tokio_context = self.0.state.tokio_context_of(&**tier);
            result = result.and(unlimited(tokio_context, tier.shutdown()).await);
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

/// An annotated function, as the linker collects them.
#[derive(Debug)]
pub struct Registered {
    slot: &'static FunctionSlot,
}

impl Registered {
    /// Registers a function; an expansion's part.
    #[must_use]
    pub const fn new(slot: &'static FunctionSlot) -> Self {
        Self { slot }
    }

    /// All there are in this program.
    pub(crate) fn all() -> impl Iterator<Item = &'static Definition> {
        inventory::iter::<Self>
            .into_iter()
            .map(|registered| &registered.slot.definition)
    }
}

inventory::collect!(Registered);

/// The annotated functions of this program, called or not: name, file and line of each.
pub fn registered_functions() -> impl Iterator<Item = (&'static str, &'static str, u32)> {
    Registered::all().map(|definition| (&*definition.name, definition.file, definition.line))
}
