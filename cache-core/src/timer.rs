//! Deadlines of callers and of loads.
//!
//! In Tokio they are those of its clock, which a test can pause. Outside of Tokio, and in a Tokio
//! runtime without timers, they are those of a timer that depends on no runtime.

use std::future::{Future, poll_fn};
use std::panic::catch_unwind;
use std::pin::{Pin, pin};
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

/// Runs a future until a deadline. Returns `None` if it is not ready by then. A future that is
/// ready at the first poll is returned whatever the deadline, and makes no timer.
///
/// # Cancel safety
/// As cancel safe as `future`.
pub(crate) async fn limit<F: Future>(future: F, deadline: Instant) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut timer = Timer::new(deadline);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(output) => Poll::Ready(Some(output)),
        Poll::Pending => Pin::new(&mut timer).poll(cx).map(|()| None),
    })
    .await
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
