//! The runtime that the calls of a task use, and whether they are traced.

use std::future::Future;

use super::CacheRuntime;
use crate::call_trace::{CallTrace, TracedCalls};

tokio::task_local! {
    static OF_TASK: CacheRuntime;
}

impl CacheRuntime {
    /// Returns the runtime that a call here uses: the task's own, the installed one, or the default
    /// one.
    #[must_use]
    pub fn current() -> Self {
        Self::of_task()
            .or_else(|| Self::installed().cloned())
            .unwrap_or_else(|| Self::default_of_process().clone())
    }

    /// Runs `future` so that the calls of its task use `runtime` instead of the installed one.
    /// Tasks that it spawns do not; wrap them too.
    ///
    /// Calls, handles and invalidations use the runtime in which their future is first polled,
    /// wherever they were made: `scope(runtime, get_user::entry(42).refresh())` and
    /// `scope(runtime, invalidate!(get_user, 42))` use `runtime`. A future that was polled outside
    /// before keeps the runtime of that poll.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    pub async fn scope<F: Future>(runtime: Self, future: F) -> F::Output {
        OF_TASK.scope(runtime, future).await
    }

    /// Runs `f` so that its calls on this thread use `runtime` instead of the installed one. Use it
    /// for functions that are not `async`.
    pub fn scope_blocking<T>(runtime: Self, f: impl FnOnce() -> T) -> T {
        OF_TASK.sync_scope(runtime, f)
    }

    /// Runs `future`, and returns its output and a trace of each call of a cached function that its
    /// task makes, in the order in which the calls began: what answered it, and how long each step
    /// took. The calls do the same as without a trace, and are counted the same.
    ///
    /// For one call, or for a whole request:
    ///
    /// ```
    /// # use cache_core as multi_tier_cached;
    /// # async fn get_user(id: u64) -> u64 { id }
    /// use multi_tier_cached::CacheRuntime;
    ///
    /// # tokio::runtime::Builder::new_current_thread().build()?.block_on(async {
    /// let (user, calls) = CacheRuntime::traced(get_user(42)).await;
    /// for call in calls {
    ///     println!("{call}");
    /// }
    /// # });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// Calls of tasks that `future` spawns are not traced, and neither are loads in the background.
    /// The first 4,096 calls are traced; later ones are made without a trace. A trace costs each
    /// call some allocations, and two readings of the clock for each step. Without one, a hit in
    /// the installed runtime costs nothing more.
    ///
    /// The calls use the runtime that a call would use where the future is first polled, also if
    /// another one is installed while it runs.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    pub async fn traced<F: Future>(future: F) -> (F::Output, Vec<CallTrace>) {
        Self::scope(Self::current(), TracedCalls::of(future)).await
    }

    /// Calls `f` as [`traced`](Self::traced) runs a future. Use it for functions that are not
    /// `async`.
    pub fn traced_blocking<T>(f: impl FnOnce() -> T) -> (T, Vec<CallTrace>) {
        Self::scope_blocking(Self::current(), || TracedCalls::of_blocking(f))
    }

    /// Returns `true` if the task has a runtime of its own.
    #[inline]
    pub(crate) fn is_in_scope() -> bool {
        OF_TASK.try_with(|_| ()).is_ok()
    }

    pub(crate) fn of_task() -> Option<Self> {
        OF_TASK.try_with(Self::clone).ok()
    }
}
