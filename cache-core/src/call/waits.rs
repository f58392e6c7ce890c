//! Waiting for another instance's load.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use crate::bound::{Bound, LowerTiers};
use crate::flight::Leading;
use crate::tier::{Claim, Wakeup};

/// What a call has come to that waits for another instance's load.
#[derive(Debug, Default)]
pub(super) struct Waits {
    has_waited: bool,
    /// Times that it waited for what is not another's load, as far as it can see.
    in_vain: u32,
}

impl Waits {
    /// After that many a store contradicts itself, or two tiers are one store: it is not worth to wait once more.
    const MOST_IN_VAIN: u32 = 8;

    /// What a miss claims. A call from inside a load waits for another instance once, for a lease time at most: that instance may
    /// be waiting for this one, and nobody sees the whole ring.
    pub(super) fn claim(&self, bound: &Bound, lower: &mut LowerTiers<'_>) -> Claim {
        let is_in_a_ring = self.has_waited && Leading::is_under_way();
        let is_in_vain = self.in_vain >= Self::MOST_IN_VAIN;
        if is_in_vain {
            lower.look_no_more();
        }
        if is_in_a_ring || is_in_vain {
            Claim::Share
        } else {
            bound.claim()
        }
    }

    /// Waits to be woken. In vain, for a store that says at once that a key was filled, and then has no record that counts; or
    /// where this call had a lease above, which may be what it waits for.
    pub(super) async fn wait(&mut self, mut wakeup: Wakeup, is_held_above: bool) {
        self.has_waited = true;
        let at_once = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut wakeup).poll(cx)));
        match at_once.await {
            Poll::Ready(()) => {
                self.in_vain += 1;
                tokio::task::yield_now().await;
            }
            Poll::Pending => {
                self.in_vain = if is_held_above { self.in_vain + 1 } else { 0 };
                wakeup.await;
            }
        }
    }
}
