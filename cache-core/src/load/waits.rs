//! Waiting for a load that another instance runs.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::bound::{CachedFunction, TierVisits};
use crate::flight::{FlightId, blocked};
use crate::tier::{Deadlock, LeaseMode, RecordKey, Wakeup, Woken};

/// How long a call waits that may be part of a deadlock which its store cannot see: as long as Redis keeps a lease by
/// default after its holder died.
const LONGEST_POSSIBLE_DEADLOCK: Duration = Duration::from_secs(2);

/// How often a store is asked again that did not answer whether there is a deadlock. One lost answer must not make a slow
/// load run twice.
const MOST_REPEATS: u32 = 3;

/// How long a call waits before it asks again: all repeats come before the end of a possible deadlock.
const BEFORE_REPEAT: Duration = Duration::from_millis(500);

/// How long the release of a lease may take, which is one round trip beside the calls.
const LONGEST_RELEASE: Duration = Duration::from_millis(20);

/// How often a call outside of the Tokio runtime of the cache looks whether it still has to wait.
const LOOK: Duration = Duration::from_secs(1);

/// How far a call has come with waiting for other callers' loads.
#[derive(Debug, Default)]
pub(super) struct RemoteWait {
    /// The load that this call waited for failed.
    is_behind_failure: bool,
    /// The call has waited for the lease of the failed load to be released.
    has_paused: bool,
    /// The call does not wait any more: it runs its own body, beside whoever holds the lease.
    goes_on: bool,
    /// When the call stops waiting, once its store did not tell whether the wait would end.
    deadline: Option<Instant>,
    /// RemoteWait in a row that ended at once, or that this call may have caused itself.
    in_vain: u32,
}

impl RemoteWait {
    /// After this many fruitless waits the store is assumed to be faulty, or to be configured as two tiers, and the
    /// call goes on.
    const MOST_IN_VAIN: u32 = 8;

    /// Notes that the load failed that this call waited for, so that it does not wait for another.
    pub(super) fn load_failed(&mut self) {
        self.is_behind_failure = true;
    }

    /// Returns `true` if the call may wait for a load that another caller runs.
    pub(super) fn may_wait(&self) -> bool {
        !self.is_behind_failure
    }

    /// Returns the claim of a miss in the lower tiers.
    pub(super) fn claim(&self, bound: &CachedFunction, lower: &mut TierVisits<'_>) -> LeaseMode {
        if self.in_vain >= Self::MOST_IN_VAIN {
            lower.accept_stale_stamps();
            return LeaseMode::Shared;
        }
        match self.goes_on {
            true => LeaseMode::Shared,
            false => bound.claim(),
        }
    }

    /// RemoteWait for the load of another instance, which holds the lease of the tier at that place; `flight` is the one that
    /// this call leads. Returns at once if the call is not to wait: it goes on.
    pub(super) async fn wait(
        &mut self,
        bound: &CachedFunction,
        lower: TierVisits<'_>,
        wakeup: Wakeup,
        at: usize,
        flight: Option<FlightId>,
    ) {
        let question = DeadlockQuestion {
            bound,
            awaited: lower.record_key(),
            at,
            flight,
        };
        let deadlock = match self.may_wait() {
            true => question.ask().await,
            false => Some(Deadlock::Present),
        };
        if deadlock == Some(Deadlock::Present) {
            // The failed load's own lease may not be released yet. To share it would be of no use: what is loaded now
            // could not be stored.
            let pauses = self.is_behind_failure && !self.has_paused && bound.is_in_tokio_context();
            self.has_paused = true;
            self.goes_on = !(pauses && timeout(LONGEST_RELEASE, wakeup).await.is_ok());
            return;
        }
        // The holder may itself be waiting for a lease that this call took in a tier above.
        let is_held_above = lower.holds_a_lease();
        drop(lower);
        let woken = match bound.tokio_context() {
            // It looks again from time to time: nobody knows whether the Tokio runtime of the cache is being driven.
            Some(tokio_context) if !tokio_context.is_here() => {
                let woken = self.woken(wakeup, deadlock, is_held_above, question);
                let woken = tokio_context.run_within(LOOK, woken).await;
                woken.unwrap_or(Woken::LookAgain)
            }
            _ => self.woken(wakeup, deadlock, is_held_above, question).await,
        };
        if woken == Woken::LoadFailed {
            self.load_failed();
        }
    }

    /// RemoteWait for the wakeup, and notes what that was good for.
    async fn woken(
        &mut self,
        wakeup: Wakeup,
        deadlock: Option<Deadlock>,
        is_held_above: bool,
        question: DeadlockQuestion<'_>,
    ) -> Woken {
        let mut wakeup = pin!(wakeup);
        // The store says at once that the key was filled, and then may have no valid record.
        if let Poll::Ready(woken) = poll_once(wakeup.as_mut()).await {
            self.in_vain += 1;
            tokio::task::yield_now().await;
            return woken;
        }
        self.in_vain = if is_held_above { self.in_vain + 1 } else { 0 };
        match deadlock {
            None => self.woken_after_repeats(wakeup, question).await,
            Some(Deadlock::Unknown) => self.woken_in_time(wakeup).await,
            Some(Deadlock::Absent | Deadlock::Present) => {
                // A store that did not tell before, and now does, has not used up the time.
                self.deadline = None;
                wakeup.await
            }
        }
    }

    /// RemoteWait for the wakeup, and repeats a question that was not answered. Without any answer, the call waits as for a
    /// store that cannot tell.
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

    /// RemoteWait for the wakeup until the deadline. After it the call goes on.
    async fn woken_in_time(&mut self, wakeup: Pin<&mut Wakeup>) -> Woken {
        let woken = timeout_at(self.deadline(), wakeup).await;
        self.goes_on = woken.is_err();
        woken.unwrap_or(Woken::LookAgain)
    }

    /// When the call stops waiting, from the first time that its store did not tell whether the wait would end.
    fn deadline(&mut self) -> Instant {
        *self
            .deadline
            .get_or_insert_with(|| Instant::now() + LONGEST_POSSIBLE_DEADLOCK)
    }
}

/// The question whether the wait for a lease would never end.
struct DeadlockQuestion<'a> {
    bound: &'a CachedFunction,
    /// The key whose lease is waited for, in the tier at place `at`.
    awaited: Arc<RecordKey>,
    at: usize,
    /// The flight that the caller leads.
    flight: Option<FlightId>,
}

impl DeadlockQuestion<'_> {
    /// Asks the store. `None` if there was no answer.
    async fn ask(&self) -> Option<Deadlock> {
        let blocked = blocked(self.flight);
        self.bound.deadlock(&self.awaited, self.at, blocked).await
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
