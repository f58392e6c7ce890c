//! Deadlines of callers and of loads.
//!
//! In Tokio they are those of its clock, which a test can pause. Outside of Tokio, and in a Tokio
//! runtime without timers, they are those of a timer that depends on no runtime.

use std::future::Future;
use std::panic::catch_unwind;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_timer::Delay;
use tokio::runtime::{Handle, Id};
use tokio::time::{Instant, Sleep, sleep_until};

/// Returns the moment `wait` from now. A moment that the clock cannot represent is far in the
/// future.
pub(crate) fn deadline_after(wait: Duration) -> Instant {
    const FAR: Duration = Duration::from_secs(30 * 365 * 24 * 60 * 60);
    let now = Instant::now();
    now.checked_add(wait).unwrap_or_else(|| now + FAR)
}

/// A future that is ready at a deadline.
#[derive(Debug)]
pub(crate) struct Timer {
    deadline: Instant,
    /// Made at the first poll, and made again when the timer is polled in another Tokio runtime: a
    /// timer of a runtime that nothing drives is never ready, and one of a runtime that has ended
    /// panics.
    made: Option<Made>,
}

#[derive(Debug)]
enum Made {
    InTokio(Id, Pin<Box<Sleep>>),
    Elsewhere(Option<Id>, Delay),
}

impl Timer {
    pub(crate) fn new(deadline: Instant) -> Self {
        Self {
            deadline,
            made: None,
        }
    }

    /// Returns the timer of the context that polls it.
    fn here(&mut self) -> &mut Made {
        let here = Handle::try_current().ok().map(|handle| handle.id());
        let deadline = self.deadline;
        let made = self.made.take().filter(|made| made.context() == here);
        self.made
            .insert(made.unwrap_or_else(|| Made::new(here, deadline)))
    }
}

impl Made {
    fn new(here: Option<Id>, deadline: Instant) -> Self {
        match here {
            Some(id) if has_timers(id) => Self::InTokio(id, Box::pin(sleep_until(deadline))),
            _ => {
                let left = deadline.saturating_duration_since(Instant::now());
                Self::Elsewhere(here, Delay::new(left))
            }
        }
    }

    fn context(&self) -> Option<Id> {
        match self {
            Self::InTokio(id, _) => Some(*id),
            Self::Elsewhere(id, _) => *id,
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        match self.here() {
            Made::InTokio(_, sleep) => sleep.as_mut().poll(cx),
            Made::Elsewhere(_, delay) => Pin::new(delay).poll(cx),
        }
    }
}

/// Returns `true` if the Tokio runtime of the caller, which has this id, has timers.
///
/// Tokio can say so only by a panic, which the panic hook reports. So it is asked again only after
/// it was asked for another runtime.
fn has_timers(here: Id) -> bool {
    static LAST: Mutex<Option<(Id, bool)>> = Mutex::new(None);
    let last = *LAST.lock().unwrap_or_else(PoisonError::into_inner);
    match last {
        Some((id, has_timers)) if id == here => has_timers,
        _ => {
            let has_timers = catch_unwind(|| drop(sleep_until(Instant::now()))).is_ok();
            *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some((here, has_timers));
            has_timers
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, poll_fn};
    use std::pin::pin;
    use std::task::Waker;

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    /// Runs a future until a deadline. Returns `None` if it is not ready by then. A future that is
    /// ready at the first poll is returned whatever the deadline, and makes no timer.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    async fn limit<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut timer = Timer::new(deadline);
        poll_fn(|cx| match future.as_mut().poll(cx) {
            Poll::Ready(output) => Poll::Ready(Some(output)),
            Poll::Pending => Pin::new(&mut timer).poll(cx).map(|()| None),
        })
        .await
    }

    use crate::blocking;

    const SHORT: Duration = Duration::from_millis(5);
    const HOUR: Duration = Duration::from_secs(60 * 60);

    fn runtime() -> Runtime {
        Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn poll(timer: &mut Timer) -> Poll<()> {
        Pin::new(timer).poll(&mut Context::from_waker(Waker::noop()))
    }

    #[tokio::test(start_paused = true)]
    async fn deadline_in_tokio_is_one_of_its_clock() {
        let began = Instant::now();
        assert_eq!(limit(pending::<()>(), deadline_after(HOUR)).await, None);
        assert_eq!(began.elapsed(), HOUR);
        let ready = limit(async { 7 }, began).await;
        assert_eq!(
            ready,
            Some(7),
            "the deadline has passed, and the future is ready"
        );
        let slow = tokio::time::sleep(HOUR);
        assert_eq!(limit(slow, deadline_after(2 * HOUR)).await, Some(()));
        assert_eq!(began.elapsed(), 2 * HOUR);
    }

    #[test]
    fn deadline_passes_outside_of_tokio_and_in_a_runtime_without_timers() {
        let limited = || limit(pending::<()>(), deadline_after(SHORT));
        assert_eq!(blocking::wait(limited()), None);
        let without_timers = Builder::new_current_thread().build().unwrap();
        assert_eq!(without_timers.block_on(limited()), None);
        assert_eq!(without_timers.block_on(limited()), None);
        assert_eq!(runtime().block_on(limited()), None);
    }

    /// A load with a limit that is handed over to the background polls its timer there.
    #[test]
    fn timer_is_polled_in_a_runtime_other_than_the_one_it_began_in() {
        let mut timer = Timer::new(deadline_after(SHORT));
        let first = runtime();
        first.block_on(async { assert!(poll(&mut timer).is_pending()) });
        // Nothing drives the first runtime any more.
        runtime().block_on(async { (&mut timer).await });

        let mut timer = Timer::new(deadline_after(SHORT));
        first.block_on(async { assert!(poll(&mut timer).is_pending()) });
        drop(first);
        runtime().block_on(async { (&mut timer).await });

        let mut timer = Timer::new(deadline_after(SHORT));
        assert!(poll(&mut timer).is_pending());
        runtime().block_on(async { (&mut timer).await });
        let mut timer = Timer::new(deadline_after(SHORT));
        runtime().block_on(async { assert!(poll(&mut timer).is_pending()) });
        blocking::wait(&mut timer);
    }

    #[test]
    fn longest_wait_has_a_deadline() {
        assert!(deadline_after(Duration::MAX) > deadline_after(HOUR));
    }
}
