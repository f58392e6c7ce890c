//! Time limits of a tier's operations, and the Tokio runtime in which they run.
//!
//! A tier is given a time limit with each operation. It may be the user's own code, so it is not
//! trusted to keep to the limit: an operation that does not is dropped after [`GRACE`], so that no
//! call hangs.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use super::operation_times::LiveOperationTimes;
use super::watch::Operation;
use super::{Receipt, Tier, TierFuture, TierSettings};
use crate::clock::Clock;
use crate::error::{Error, ErrorKind};
use crate::tokio_context::TokioContext;
use crate::trace::OperationSpan;

/// The time that an operation may take beyond its limit before it is dropped.
const GRACE: Duration = Duration::from_millis(100);

/// Runs an operation with a time limit. `context` is the Tokio runtime in which the tier was
/// started.
///
/// The grace begins when the caller notices that the limit has passed, not when it passed. So if
/// the process was stopped for longer than both (SIGSTOP, a suspended machine), the operation still
/// gets the grace to finish.
pub(crate) async fn with_time_limit<T>(
    context: Option<&TokioContext>,
    within: Duration,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut operation = pin!(operation);
    for longest in [within, GRACE] {
        let ended = match context {
            Some(context) if !context.is_here() => {
                context.check()?;
                context.run_within(longest, operation.as_mut()).await
            }
            _ => run_here(longest, operation.as_mut()).await,
        };
        if let Some(result) = ended {
            return result;
        }
    }
    Err(Error::new(
        ErrorKind::TimedOut,
        format!(
            "no reply from the tier within {} ms, and it does not keep to its time limit",
            within.as_millis()
        ),
    ))
}

/// Runs an operation in the caller's context. Returns `None` if it takes longer than `longest`.
///
/// If a thread blocks on the operation, possibly no thread drives the timers. So the clock is also
/// checked at each poll.
async fn run_here<F: Future>(longest: Duration, mut operation: Pin<&mut F>) -> Option<F::Output> {
    let began = Clock::System.now();
    let checked = poll_fn(|cx| match operation.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if Clock::System.now().since(began) > longest => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match Handle::try_current() {
        Ok(_) => tokio::time::timeout(longest, checked).await.unwrap_or(None),
        Err(_) => checked.await,
    }
}

/// Runs an operation that has no time limit, in the Tokio runtime of the tier.
pub(crate) async fn without_time_limit<T>(
    context: Option<&TokioContext>,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match context {
        Some(context) if !context.is_here() => context.run(operation).await?,
        _ => operation.await,
    }
}

/// Runs an operation that a tier may keep as pending. The tier may take its time limit twice: once
/// to do it and, if that fails, once to write it down as pending.
pub(crate) async fn change_within<'a>(
    context: Option<&TokioContext>,
    tier: &dyn Tier,
    change: impl FnOnce(Duration) -> TierFuture<'a, Receipt>,
) -> Result<Receipt, Error> {
    let within = tier.settings().time_limit;
    with_time_limit(context, within.saturating_mul(2), change(within)).await
}

/// The time that a call may still spend on a tier. The body's own time does not count.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    times: &'a LiveOperationTimes,
    context: Option<&'a TokioContext>,
    left: Duration,
}

impl<'a> Budget<'a> {
    /// A call that has spent nothing yet.
    pub(crate) fn new(
        times: &'a LiveOperationTimes,
        context: Option<&'a TokioContext>,
        tier: &TierSettings,
    ) -> Self {
        Self {
            times,
            context,
            left: tier.time_limit,
        }
    }

    /// Runs an operation of this kind in its span, within the time that is left, and records its
    /// time.
    pub(crate) async fn spend<T, F>(
        &mut self,
        (kind, span): (Operation, OperationSpan),
        operation: impl FnOnce(Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let left = self.time_left()?;
        let began = self.times.begin();
        let result = with_time_limit(self.context, left, operation(left));
        let result = span.enter(result).await;
        span.end(result.as_ref().err());
        let took = self.times.ended(kind, began, result.as_ref().err());
        self.took(took);
        result
    }

    /// Runs an operation that keeps to the time that is left, and is recorded together with those
    /// of other keys.
    pub(crate) async fn charge<T, F>(
        &mut self,
        operation: impl FnOnce(Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let left = self.time_left()?;
        let began = self.times.begin();
        let result = operation(left).await;
        self.took(self.times.since(began));
        result
    }

    /// Returns the time that is left.
    ///
    /// # Errors
    /// There is none.
    fn time_left(&self) -> Result<Duration, Error> {
        match self.left.is_zero() {
            false => Ok(self.left),
            true => Err(Error::new(
                ErrorKind::TimedOut,
                "the call has used up the time limit of the tier",
            )),
        }
    }

    /// Counts the time that an operation has taken.
    pub(crate) fn took(&mut self, time: Duration) {
        self.left = self.left.saturating_sub(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(5);

    /// An operation whose process is stopped during one of its steps, with more steps after that.
    async fn stopped() -> Result<(), Error> {
        std::thread::sleep(2 * (WITHIN + GRACE));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Ok(())
    }

    #[tokio::test]
    async fn operation_finishes_after_its_process_was_stopped() {
        assert!(with_time_limit(None, WITHIN, stopped()).await.is_ok());
    }

    #[test]
    fn operation_finishes_after_its_process_was_stopped_on_a_blocking_thread() {
        assert!(crate::blocking::wait(with_time_limit(None, WITHIN, stopped())).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn operation_that_never_ends_is_dropped_after_the_grace() {
        let began = tokio::time::Instant::now();
        let ended: Result<(), Error> = with_time_limit(None, WITHIN, std::future::pending()).await;
        assert!(ended.is_err());
        assert!(began.elapsed() >= WITHIN + GRACE);
    }
}
