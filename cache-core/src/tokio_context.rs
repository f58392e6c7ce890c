//! The Tokio runtime in which the tiers were started. It drives their connections and timers.
//!
//! A call may run elsewhere: in another Tokio runtime (one for each test, one for each worker
//! thread), in one without timers, or outside of Tokio. Then operations of tiers are polled in the
//! context of the runtime of the cache. A timer that does not depend on that runtime limits them,
//! because it is not known whether any thread drives the runtime.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_timer::Delay;
use tokio::runtime::{EnterGuard, Handle};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind};

/// The Tokio runtime in which the cache was installed.
#[derive(Debug)]
pub(crate) struct TokioContext {
    handle: Handle,
    /// Task that ends when the runtime ends. It is aborted when this is dropped.
    resident: JoinHandle<()>,
    /// `true` if the end of the runtime was logged. Relaxed: the flag orders nothing.
    is_end_reported: AtomicBool,
}

impl TokioContext {
    /// Returns the runtime of the caller, if there is one.
    pub(crate) fn of_caller() -> Option<Self> {
        let handle = Handle::try_current().ok()?;
        let resident = handle.spawn(std::future::pending());
        Some(Self {
            handle,
            resident,
            is_end_reported: AtomicBool::new(false),
        })
    }

    /// Enters the runtime, unless it has ended.
    pub(crate) fn enter(&self) -> Option<EnterGuard<'_>> {
        (!self.has_ended()).then(|| self.handle.enter())
    }

    /// Returns `true` if the runtime has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.resident.is_finished()
    }

    /// Returns `true` if the caller is in the context of this runtime.
    pub(crate) fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|handle| handle.id() == self.handle.id())
    }

    /// Checks that the runtime has not ended, for an operation that needs it. The first failure is
    /// logged.
    ///
    /// # Errors
    /// The runtime has ended.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.has_ended() {
            return Ok(());
        }
        const ENDED: &str = "the Tokio runtime that the cache was installed in has ended, so tiers below memory are not \
                             used; help: install the cache in a runtime that lives as long as the process";
        if !self.is_end_reported.swap(true, Ordering::Relaxed) {
            tracing::error!(target: "multi_tier_cached::runtime", "{ENDED}");
        }
        Err(Error::new(ErrorKind::Unavailable, ENDED))
    }

    /// Polls a future in the context of this runtime, whichever runtime runs the caller.
    ///
    /// Returns `None` if the future takes longer than `within`, or if the runtime ends.
    pub(crate) async fn run_within<F: Future>(
        &self,
        within: Duration,
        future: F,
    ) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut limit = pin!(Delay::new(within));
        poll_fn(|cx| match self.poll_here(future.as_mut(), cx) {
            None => Poll::Ready(None),
            Some(Poll::Ready(output)) => Poll::Ready(Some(output)),
            Some(Poll::Pending) => limit.as_mut().poll(cx).map(|()| None),
        })
        .await
    }

    /// Polls a future in the context of this runtime, whichever runtime runs the caller, without a
    /// time limit.
    ///
    /// # Errors
    /// The runtime has ended. This is checked once a second.
    pub(crate) async fn run<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        const CHECK_INTERVAL: Duration = Duration::from_secs(1);
        let mut future = pin!(future);
        loop {
            self.check()?;
            if let Some(output) = self.run_within(CHECK_INTERVAL, future.as_mut()).await {
                return Ok(output);
            }
        }
    }

    fn poll_here<F: Future>(
        &self,
        future: Pin<&mut F>,
        cx: &mut Context<'_>,
    ) -> Option<Poll<F::Output>> {
        let _entered = self.enter()?;
        Some(future.poll(cx))
    }
}

impl Drop for TokioContext {
    fn drop(&mut self) {
        self.resident.abort();
    }
}

#[cfg(test)]
mod tests {
    use tokio::runtime::Builder;

    use super::*;
    use crate::blocking;

    #[test]
    fn runtime_that_has_ended_is_not_entered_and_its_operations_fail() {
        let runtime = Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let tokio_context = runtime.block_on(async { TokioContext::of_caller().unwrap() });
        assert!(tokio_context.enter().is_some() && tokio_context.check().is_ok());
        drop(runtime);
        assert!(tokio_context.enter().is_none());
        assert_eq!(
            tokio_context.check().unwrap_err().kind(),
            ErrorKind::Unavailable
        );
        let run = tokio_context.run_within(Duration::from_secs(60), std::future::pending::<()>());
        assert_eq!(blocking::wait(run), None);
    }

    #[test]
    fn operation_outside_of_tokio_uses_the_timers_of_its_runtime_and_a_separate_time_limit() {
        let driven = Builder::new_multi_thread()
            .worker_threads(1)
            .enable_time()
            .build()
            .unwrap();
        let tokio_context = driven.block_on(async { TokioContext::of_caller().unwrap() });
        assert!(!tokio_context.is_here());
        let sleep = async { tokio::time::sleep(Duration::from_millis(1)).await };
        let slept = blocking::wait(tokio_context.run_within(Duration::from_secs(60), sleep));
        assert_eq!(slept, Some(()));

        let idle = Builder::new_current_thread().enable_time().build().unwrap();
        let tokio_context = idle.block_on(async { TokioContext::of_caller().unwrap() });
        let sleep = async { tokio::time::sleep(Duration::from_millis(1)).await };
        let slept = blocking::wait(tokio_context.run_within(Duration::from_millis(20), sleep));
        assert_eq!(slept, None, "no thread drives the timers of the runtime");
    }
}
