//! Step 4, if another instance holds the lease: the call waits for its load.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use super::visit::TierVisits;
use crate::cached_function::CachedFunction;
use crate::call_trace::{StepKind, StepTimer};
use crate::flight::{FlightId, blocked};
use crate::tier::{Deadlock, LeaseMode, RecordKey, Wakeup, Woken};

/// The longest wait of a call that may be part of a deadlock which its store cannot see. By default
/// Redis keeps a lease for as long after its holder died.
const LONGEST_POSSIBLE_DEADLOCK: Duration = Duration::from_secs(2);

/// How often a store is asked again that did not answer whether there is a deadlock. One lost
/// answer must not make a slow load run twice.
const MOST_REPEATS: u32 = 3;

/// The pause before the store is asked again. All repeats come before [`LONGEST_POSSIBLE_DEADLOCK`]
/// has passed.
const BEFORE_REPEAT: Duration = Duration::from_millis(500);

/// How long the release of a lease may take. It is one round trip, which its holder does not await.
const LONGEST_RELEASE: Duration = Duration::from_millis(20);

/// How often a call outside of the Tokio runtime of the cache checks whether it still has to wait.
/// If no thread drives that runtime, its wakeup does not come.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The knowledge of a call about its waits for the loads of other callers.
#[derive(Debug, Default)]
pub(crate) struct RemoteWait {
    /// The load that this call waited for failed.
    load_failed: bool,
    /// The call has waited for the lease of the failed load to be released.
    has_paused: bool,
    /// The call does not wait any more: it runs its own body, beside the caller that holds the
    /// lease.
    goes_on: bool,
    /// When the call stops waiting, once its store did not tell whether the wait would end.
    deadline: Option<Instant>,
    /// The number of waits in a row that ended at once, or that this call may have ended itself.
    fruitless: u32,
}

impl RemoteWait {
    /// After this many fruitless waits the store is assumed to be faulty, or to be configured as
    /// two tiers, and the call continues.
    const MOST_FRUITLESS: u32 = 8;

    /// Notes that the load failed that this call waited for, so that it does not wait for another.
    pub(super) fn load_failed(&mut self) {
        self.load_failed = true;
    }

    /// Returns `true` if the call may wait for a load that another caller runs.
    pub(super) fn may_wait(&self) -> bool {
        !self.load_failed
    }

    /// Returns the mode in which the call takes the leases of the lower tiers.
    pub(super) fn lease_mode(&self, visits: &mut TierVisits<'_>) -> LeaseMode {
        if self.fruitless >= Self::MOST_FRUITLESS {
            visits.accept_stale_stamps();
            return LeaseMode::Shared;
        }
        match self.goes_on {
            true => LeaseMode::Shared,
            false => visits.function.lease_mode(),
        }
    }

    /// Waits for the load of another instance, which holds the lease of the tier at place `at`.
    /// `flight` is the one that this call leads. Returns at once if the call is not to wait.
    pub(super) async fn wait(
        &mut self,
        visits: Box<TierVisits<'_>>,
        wakeup: Wakeup,
        at: usize,
        flight: Option<FlightId>,
    ) {
        let function = visits.function;
        let question = DeadlockQuestion {
            function,
            awaited: Arc::clone(&visits.record_key),
            at,
            flight,
        };
        let deadlock = match self.may_wait() {
            true => question.ask().await,
            false => Some(Deadlock::Present),
        };
        if deadlock == Some(Deadlock::Present) {
            // The lease of the failed load may not be released yet. Sharing it would be of no use:
            // a value that is loaded now could not be stored.
            let pauses = self.load_failed && !self.has_paused && function.is_in_tokio_context();
            self.has_paused = true;
            self.goes_on = !(pauses && timeout(LONGEST_RELEASE, wakeup).await.is_ok());
            return;
        }
        // The holder may itself be waiting for a lease that this call took in a tier above.
        let held_above = visits.holds_a_lease();
        drop(visits);
        let mut step = StepTimer::begin(|| StepKind::Lease);
        let woken = self.woken(wakeup, deadlock, held_above, question);
        let woken = match function.tokio_context() {
            Some(context) if !context.is_here() => {
                let woken = context.run_within(CHECK_INTERVAL, woken).await;
                woken.unwrap_or(Woken::LookAgain)
            }
            _ => woken.await,
        };
        step.end(None);
        if woken == Woken::LoadFailed {
            self.load_failed();
        }
    }

    /// Waits for the wakeup, and notes whether the wait was fruitless.
    async fn woken(
        &mut self,
        wakeup: Wakeup,
        deadlock: Option<Deadlock>,
        held_above: bool,
        question: DeadlockQuestion<'_>,
    ) -> Woken {
        let mut wakeup = pin!(wakeup);
        // A store that says at once that the key was filled may still have no valid record.
        if let Poll::Ready(woken) = poll_once(wakeup.as_mut()).await {
            self.fruitless += 1;
            tokio::task::yield_now().await;
            return woken;
        }
        self.fruitless = if held_above { self.fruitless + 1 } else { 0 };
        match deadlock {
            None => self.woken_after_repeats(wakeup, question).await,
            Some(Deadlock::Unknown) => self.woken_in_time(wakeup).await,
            Some(Deadlock::Absent | Deadlock::Present) => {
                // A store that answers now has not used up the time, if it did not answer before.
                self.deadline = None;
                wakeup.await
            }
        }
    }

    /// Waits for the wakeup, and repeats a question that was not answered. Without any answer, the
    /// call waits as for a store that cannot tell.
    async fn woken_after_repeats(
        &mut self,
        mut wakeup: Pin<&mut Wakeup>,
        question: DeadlockQuestion<'_>,
    ) -> Woken {
        let deadline = self.deadline();
        for _ in 0..MOST_REPEATS {
            let pause = deadline.min(Instant::now() + BEFORE_REPEAT);
            if let Ok(woken) = timeout_at(pause, wakeup.as_mut()).await {
                return woken;
            }
            let mut question = pin!(question.ask());
            let answered = poll_fn(|cx| match wakeup.as_mut().poll(cx) {
                Poll::Ready(woken) => Poll::Ready(Err(woken)),
                Poll::Pending => question.as_mut().poll(cx).map(Ok),
            });
            let answer = match answered.await {
                Ok(answer) => answer,
                Err(woken) => return woken,
            };
            match answer {
                Some(Deadlock::Absent) => {
                    self.deadline = None;
                    return wakeup.await;
                }
                Some(Deadlock::Present) => {
                    self.goes_on = true;
                    return Woken::LookAgain;
                }
                Some(Deadlock::Unknown) => break,
                None => {}
            }
        }
        self.woken_in_time(wakeup).await
    }

    /// Waits for the wakeup until the deadline. After it the call continues.
    async fn woken_in_time(&mut self, wakeup: Pin<&mut Wakeup>) -> Woken {
        let woken = timeout_at(self.deadline(), wakeup).await;
        self.goes_on = woken.is_err();
        woken.unwrap_or(Woken::LookAgain)
    }

    /// When the call stops waiting, counted from the first time that its store did not tell whether
    /// the wait would end.
    fn deadline(&mut self) -> Instant {
        *self
            .deadline
            .get_or_insert_with(|| Instant::now() + LONGEST_POSSIBLE_DEADLOCK)
    }
}

/// The question whether the wait for a lease would never end.
struct DeadlockQuestion<'a> {
    function: &'a CachedFunction,
    /// The key whose lease is awaited, in the tier at place `at`.
    awaited: Arc<RecordKey>,
    at: usize,
    /// The flight that the caller leads.
    flight: Option<FlightId>,
}

impl DeadlockQuestion<'_> {
    /// Asks the store. Returns `None` if there was no answer.
    async fn ask(&self) -> Option<Deadlock> {
        let tier = &self.function.lower[self.at];
        // The leases whose loads cannot end before the caller continues.
        let mut blocked = blocked(self.flight);
        blocked.retain(|lease| lease.level == tier.level);
        if blocked.is_empty() {
            return Some(Deadlock::Absent);
        }
        let context = self.function.tokio_context_of(tier);
        let answer = tier.store.deadlock(context, &blocked, &self.awaited);
        let answer = answer.await;
        answer
            .inspect_err(|error| tier.failed("deadlock", self.function.name(), error))
            .ok()
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
