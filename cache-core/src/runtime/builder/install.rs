//! From a builder to a runtime that runs.

use std::sync::Arc;
use std::time::Duration;

use super::RuntimeBuilder;
use super::problems::Problems;
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::function::definition::Definition;
use crate::function::plan::Plan;
use crate::function::registry;
use crate::runtime::CacheRuntime;
use crate::state::RuntimeState;
use crate::tier::config::TierConfig;
use crate::tier::store::Store;
use crate::tokio_context::TokioContext;

impl RuntimeBuilder {
    /// Builds a runtime without installing it, for [`CacheRuntime::scope`]. Checks the settings as
    /// [`install`](Self::install) does, but not the functions of the program.
    ///
    /// If variables such as `MULTI_TIER_CACHED_REDIS_URL` are set, and this builder did not go
    /// through [`from_env`](Self::from_env), a warning in the log names them.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration), naming every setting that cannot be used. Also
    /// the error of a `required` tier whose server is unreachable.
    ///
    /// # Cancel safety
    /// Cancel safe. If the future is dropped, the tiers that had started end as those of a killed
    /// process do: the prefix of an object tier is available after 30 seconds, and its store is
    /// empty.
    pub async fn build(self) -> Result<CacheRuntime, Error> {
        self.warn_of_unused_environment();
        let state = self.into_state()?;
        start(&state).await.map_err(Error::in_full)?;
        let runtime = CacheRuntime::new(state);
        #[cfg(feature = "inspect")]
        runtime.publish_by_tiers();
        Ok(runtime)
    }

    /// Builds a runtime and makes it the one of this process. Call it once, in `main`.
    ///
    /// Checks that the runtime can serve every annotated function of the program, and every
    /// function that [`Function::builder`](crate::Function::builder) built before, outside of
    /// [`CacheRuntime::scope`]. A function that is built later is checked when it is built.
    ///
    /// # Errors
    /// As [`build`](Self::build). Also [`AlreadyInstalled`](ErrorKind::AlreadyInstalled);
    /// [`MissingTier`](ErrorKind::MissingTier) if a function uses a tier that the runtime does not
    /// have; [`DuplicateFunction`](ErrorKind::DuplicateFunction) if two functions have one name. If
    /// the settings are valid, the error has all functions that cannot be served, with file and
    /// line.
    ///
    /// # Cancel safety
    /// As [`build`](Self::build). If the future is dropped, nothing is installed.
    pub async fn install(self) -> Result<CacheRuntime, Error> {
        self.warn_of_unused_environment();
        let state = self.into_state()?;
        let built = registry::built_for_process();
        let mut functions: Vec<&Definition> = registry::annotated().collect();
        functions.extend(built.iter().map(|definition| &**definition));
        check_functions(&state, &functions)?;
        if CacheRuntime::installed().is_some() {
            return CacheRuntime::new(state).install();
        }
        start(&state).await.map_err(Error::in_full)?;
        let runtime = CacheRuntime::new(state);
        let installed = runtime.clone().install();
        if installed.is_err() {
            // Another call installed a runtime while the tiers started.
            let _ = runtime.shutdown().await;
        }
        #[cfg(feature = "inspect")]
        if let Ok(runtime) = &installed {
            runtime.publish_by_tiers();
        }
        installed
    }
}

/// Checks that a runtime can serve functions.
///
/// # Errors
/// Everything that is wrong with any function.
pub(super) fn check_functions(
    state: &RuntimeState,
    functions: &[&Definition],
) -> Result<(), Error> {
    let mut problems = Problems::default();
    let mut by_name: Vec<&Definition> = functions.to_vec();
    by_name.sort_unstable_by(|a, b| (&a.name, a.file, a.line).cmp(&(&b.name, b.file, b.line)));
    problems.extend(by_name.windows(2).filter_map(check_names));
    problems.extend(state.defaults.overrides.check(functions));
    for definition in by_name {
        problems.note(Plan::check(definition, state));
    }
    problems.into_result()
}

/// Returns an error if two functions have one name.
fn check_names(pair: &[&Definition]) -> Option<Error> {
    let (first, second) = (pair[0], pair[1]);
    // The instances of methods have different names, because the type is part of them. A name that
    // was given is used for every type, so a second one is a mistake.
    let is_method = |definition: &Definition| definition.in_impl && !definition.is_named;
    if first.name != second.name || (is_method(first) && is_method(second)) {
        return None;
    }
    let error = registry::duplicate_name(first, second);
    Some(error.with_help("give one of them another name by `name = \"…\"`"))
}

/// Starts the tiers, in look-up order, and the background work.
async fn start(state: &RuntimeState) -> Result<(), Error> {
    check_tokio_runtime(state)?;
    if !state.lower.is_empty()
        && let Some(tokio_context) = TokioContext::of_caller()
    {
        state.tokio_context.get_or_init(|| tokio_context);
    }
    for (at, (_, store)) in state.lower.iter().enumerate() {
        if let Err(error) = store.start().await {
            give_up(&state.lower[..at]).await;
            return Err(error);
        }
    }
    if state.lower.len() > 1 {
        state.background.start();
    }
    state.loads.start();
    state.handed_over.start();
    Ok(())
}

/// Shuts down the tiers that have started. Without this, the next process that uses a store would
/// treat this one as killed.
async fn give_up(started: &[(TierConfig, Arc<Store>)]) {
    for (_, store) in started.iter().rev() {
        store.give_up().await;
    }
}

/// Checks that the tiers have a Tokio runtime that can wait for a time.
fn check_tokio_runtime(state: &RuntimeState) -> Result<(), Error> {
    let Some((config, store)) = state.lower.first() else {
        return Ok(());
    };
    let (missing, help) = if tokio::runtime::Handle::try_current().is_err() {
        (
            "there is no Tokio runtime here",
            "build the cache inside `#[tokio::main]`, or in a task of the runtime",
        )
    // A runtime without timers panics when a timer is made. Tokio has no other way to find out.
    } else if std::panic::catch_unwind(|| drop(tokio::time::sleep(Duration::ZERO))).is_err() {
        (
            "the Tokio runtime has no timers",
            "build it with `enable_all`",
        )
    } else {
        return Ok(());
    };
    let tier = format!("{} ({})", config.level(), store.settings().kind);
    Err(Error::configuration(format!("{tier} cannot start: {missing}")).with_help(help))
}
