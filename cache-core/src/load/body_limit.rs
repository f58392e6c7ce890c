//! The time after which a body is dropped.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::Instant;

use super::Load;
use crate::flight::Detached;
use crate::load_timeout::LoadTimeout;
use crate::timer::{Timer, deadline_after};

/// The limit of a body in the background whose function sets neither `load_limit` nor
/// `hard_timeout`: the time for which a lease is renewed at most.
const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

/// The limit of a body in the background, as a multiple of `hard_timeout`.
const HARD_TIMEOUTS: u32 = 4;

/// The time after which one body is dropped.
pub(crate) struct BodyLimit {
    after: Option<Duration>,
    deadline: Instant,
    /// The limit is that of a body in the background. Before, its callers wait for as long as they
    /// do.
    only_detached: Option<Detached>,
    timer: Option<Timer>,
    function: String,
}

impl Load<'_> {
    /// Returns the limit of the body of this load, which begins now. `can_time_out` says whether
    /// the error type can say that the limit was reached.
    pub(crate) fn body_limit(&self, can_time_out: bool) -> BodyLimit {
        let times = &self.function.times;
        // A body that runs beside another load ends with its caller: its value is not kept.
        let is_alone = self.running.is_none();
        let hard = times.hard_timeout.filter(|_| is_alone);
        let shortest = times.load_limit.into_iter().chain(hard).min();
        let of_callers = shortest.filter(|_| can_time_out);
        let in_background = || {
            let hard = times.hard_timeout.map(|hard| hard * HARD_TIMEOUTS);
            times.load_limit.or(hard).unwrap_or(LONGEST_LOAD)
        };
        let detached = self.detached.clone().filter(|_| of_callers.is_none());
        let after = of_callers.or_else(|| detached.is_some().then(in_background));
        let deadline = deadline_after(after.unwrap_or_default());
        // The caller of such a body waits from its own miss on, and may have waited for another
        // load before.
        let of_caller = self.deadline.filter(|_| is_alone);
        BodyLimit {
            after,
            deadline: of_caller.map_or(deadline, |hard| hard.min(deadline)),
            only_detached: detached,
            timer: None,
            function: self.function.name().to_owned(),
        }
    }
}

impl BodyLimit {
    /// No limit.
    pub(crate) fn none() -> Self {
        Self {
            after: None,
            deadline: deadline_after(Duration::ZERO),
            only_detached: None,
            timer: None,
            function: String::new(),
        }
    }

    /// Is ready when the body is to be dropped.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<LoadTimeout> {
        let Some(after) = self.after else {
            return Poll::Pending;
        };
        // The load is polled again when it is handed over, so the timer is made then.
        let begins = self.only_detached.as_ref().is_none_or(Detached::is_set);
        if !begins {
            return Poll::Pending;
        }
        let timer = self.timer.get_or_insert_with(|| Timer::new(self.deadline));
        let function = &self.function;
        Pin::new(timer)
            .poll(cx)
            .map(|()| LoadTimeout::new(function, after))
    }
}
