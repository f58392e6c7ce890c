//! Waiting for a load that another instance runs.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use tokio::time::{Instant, timeout, timeout_at};

use crate::bound::{Bound, LowerTiers};
use crate::flight::{FlightId, blocked};
use crate::tier::{Claim, Deadlock, Wakeup, Woken};

/// How long a call waits that may be part of a deadlock which its store cannot see: as long as Redis keeps a lease by
/// default after its holder died.
const LONGEST_POSSIBLE_DEADLOCK: Duration = Duration::from_secs(2);

/// How long the release of a lease may take, which is one round trip beside the calls.
const LONGEST_RELEASE: Duration = Duration::from_millis(20);

/// How often a call outside of the home runtime looks whether it still has to wait.
const LOOK: Duration = Duration::from_secs(1);

/// How far a call has come with waiting for other callers' loads.
#[derive(Debug, Default)]
pub(super) struct Waits {
    /// The load that this call waited for failed.
    is_behind_failure: bool,
    /// The call has waited for the lease of the failed load to be released.
    has_paused: bool,
    /// The call does not wait any more: it runs its own body, beside whoever holds the lease.
    goes_on: bool,
    /// When the call stops waiting, once its store could not tell whether the wait would end.
    deadline: Option<Instant>,
    /// Waits in a row that ended at once, or that this call may have caused itself.
    in_vain: u32,
}

impl Waits {
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
    pub(super) fn claim(&self, bound: &Bound, lower: &mut LowerTiers<'_>) -> Claim {
        if self.in_vain >= Self::MOST_IN_VAIN {
            lower.look_no_more();
            return Claim::Share;
        }
        match self.goes_on {
            true => Claim::Share,
            false => bound.claim(),
        }
    }

    /// Waits for the load of another instance, which holds the lease of the tier at that place; `flight` is the one that
    /// this call leads. Returns at once if the call is not to wait: it goes on.
    pub(super) async fn wait(
        &mut self,
        bound: &Bound,
        lower: LowerTiers<'_>,
        wakeup: Wakeup,
        at: usize,
        flight: Option<FlightId>,
    ) {
        let deadlock = match self.may_wait() {
            true => bound.deadlock(&lower, at, blocked(flight)).await,
            false => Deadlock::Present,
        };
        if deadlock == Deadlock::Present {
            // The failed load's own lease may not be released yet. To share it would be of no use: what is loaded now
            // could not be stored.
            let pauses = self.is_behind_failure && !self.has_paused && bound.is_home();
            self.has_paused = true;
            self.goes_on = !(pauses && timeout(LONGEST_RELEASE, wakeup).await.is_ok());
            return;
        }
        // The holder may itself be waiting for a lease that this call took in a tier above.
        let is_held_above = lower.holds_a_lease();
        drop(lower);
        let woken = match bound.home() {
            // It looks again from time to time: nobody knows whether the home runtime is being driven.
            Some(home) if !home.is_here() => {
                let woken = home.run_within(LOOK, self.woken(wakeup, deadlock, is_held_above));
                woken.await.unwrap_or(Woken::LookAgain)
            }
            _ => self.woken(wakeup, deadlock, is_held_above).await,
        };
        if woken == Woken::LoadFailed {
            self.load_failed();
        }
    }

    /// Waits for the wakeup, and notes what that was good for.
    async fn woken(&mut self, wakeup: Wakeup, deadlock: Deadlock, is_held_above: bool) -> Woken {
        let mut wakeup = pin!(wakeup);
        // The store says at once that the key was filled, and then may have no valid record.
        if let Poll::Ready(woken) = poll_once(wakeup.as_mut()).await {
            self.in_vain += 1;
            tokio::task::yield_now().await;
            return woken;
        }
        self.in_vain = if is_held_above { self.in_vain + 1 } else { 0 };
        match deadlock {
            Deadlock::Unknown => {
                let deadline = Instant::now() + LONGEST_POSSIBLE_DEADLOCK;
                let deadline = *self.deadline.get_or_insert(deadline);
                let woken = timeout_at(deadline, wakeup).await;
                self.goes_on = woken.is_err();
                woken.unwrap_or(Woken::LookAgain)
            }
            Deadlock::Absent | Deadlock::Present => {
                // A store that could not tell before, and now can, has not used up the time.
                self.deadline = None;
                wakeup.await
            }
        }
    }
}

async fn poll_once<F: Future>(mut future: Pin<&mut F>) -> Poll<F::Output> {
    poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx))).await
}
