//! Waiting for another instance's load.

use std::future::Future;
use std::pin::Pin;
use std::task::Poll;

use crate::bound::Bound;
use crate::flight::Leading;
use crate::tier::{Claim, Wakeup};

/// What a call has come to that waits for another instance's load.
#[derive(Debug, Default)]
pub(super) struct Waits {
    has_waited: bool,
    /// Times that it was woken at once, to find nothing.
    in_vain: u32,
}

impl Waits {
    /// After that many a store has contradicted itself: it says that a key was filled, and has no record that counts.
    const MOST_IN_VAIN: u32 = 8;

    /// What a miss claims. A call from inside a load waits for another instance once, for a lease time at most: that instance may
    /// be waiting for this one, and nobody sees the whole ring.
    pub(super) fn claim(&self, bound: &Bound) -> Claim {
        let is_in_a_ring = self.has_waited && Leading::is_under_way();
        if is_in_a_ring || self.in_vain >= Self::MOST_IN_VAIN {
            Claim::Share
        } else {
            bound.claim()
        }
    }

    pub(super) async fn wait(&mut self, mut wakeup: Wakeup) {
        self.has_waited = true;
        let at_once = std::future::poll_fn(|cx| Poll::Ready(Pin::new(&mut wakeup).poll(cx)));
        match at_once.await {
            Poll::Ready(()) => {
                self.in_vain += 1;
                tokio::task::yield_now().await;
            }
            Poll::Pending => {
                self.in_vain = 0;
                wakeup.await;
            }
        }
    }
}
