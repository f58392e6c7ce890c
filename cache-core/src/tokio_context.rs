//! The Tokio runtime that the tiers were started in: it drives their connections and their timers.
//!
//! A call may run elsewhere: in another Tokio runtime (one for each test, one for each worker thread), in one that has no
//! timers, or outside of Tokio. Operations of tiers are then polled in the context of the Tokio runtime of the cache, and a timer of
//! their own limits them: nobody knows whether the Tokio runtime of the cache is being driven.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_timer::Delay;
use tokio::runtime::{EnterGuard, Handle};
use tokio::task::JoinHandle;

use crate::error::{Error, ErrorKind};

/// The runtime in which the cache was installed.
#[derive(Debug)]
pub(crate) struct TokioContext {
    handle: Handle,
    /// A task that ends with the runtime, and with this.
    resident: JoinHandle<()>,
    /// Whether the log says already that the runtime has ended.
    is_end_reported: AtomicBool,
}

impl TokioContext {
    /// The runtime that runs the caller, if one does.
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

    /// Whether the runtime has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.resident.is_finished()
    }

    /// Whether the caller is in the context of this runtime.
    pub(crate) fn is_here(&self) -> bool {
        Handle::try_current().is_ok_and(|handle| handle.id() == self.handle.id())
    }

    /// The error of an operation that needs the runtime, if it has ended. The first one is logged.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if !self.has_ended() {
            return Ok(());
        }
        const ENDED: &str = "the Tokio runtime that the cache was installed in has ended, so tiers below memory are not \
                             used; help: install the cache in a runtime that lives as long as the process";
        if !self.is_end_reported.swap(true, Ordering::Relaxed) {
            tracing::error!("{ENDED}");
        }
        Err(Error::new(ErrorKind::Unavailable, ENDED))
    }

    /// Polls a future in the context of this runtime, whatever runs the caller. `None` if it takes longer than `within`, or
    /// if the runtime ends.
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

    /// Polls a future in the context of this runtime, whatever runs the caller, as long as it takes.
    ///
    /// # Errors
    /// The runtime has ended. That is looked at from time to time.
    pub(crate) async fn run<F: Future>(&self, future: F) -> Result<F::Output, Error> {
        const LOOK: Duration = Duration::from_secs(1);
        let mut future = pin!(future);
        loop {
            self.check()?;
            if let Some(output) = self.run_within(LOOK, future.as_mut()).await {
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
    fn a_runtime_that_has_ended_is_told_from_one_that_runs() {
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
    fn an_operation_outside_of_tokio_has_the_timers_of_its_runtime_and_a_limit_of_its_own() {
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
        assert_eq!(slept, None, "nobody drives its timers");
    }
}
