//! Futures that run at the same time, on the task of their caller.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use crate::panics::for_each_despite_panics;

/// A future, until it has an output.
enum Joined<F: Future> {
    Pending(Pin<Box<F>>),
    Ready(F::Output),
}

/// Runs futures at the same time, and returns their outputs in the same order.
///
/// Each poll polls all that are pending. If one panics, the others are polled nevertheless, so that
/// each of them has begun, and the panic continues after that.
///
/// # Cancel safety
/// As cancel safe as the futures. After one poll each of them was polled.
pub async fn join_all<F: Future>(futures: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let pending = futures
        .into_iter()
        .map(|future| Joined::Pending(Box::pin(future)));
    let mut all: Vec<Joined<F>> = pending.collect();
    poll_fn(|cx| {
        for_each_despite_panics(&mut all, |joined| {
            if let Joined::Pending(future) = joined
                && let Poll::Ready(output) = future.as_mut().poll(cx)
            {
                *joined = Joined::Ready(output);
            }
        });
        let is_ready = |joined: &Joined<F>| matches!(joined, Joined::Ready(_));
        match all.iter().all(is_ready) {
            true => Poll::Ready(()),
            false => Poll::Pending,
        }
    })
    .await;
    let outputs = all.into_iter().filter_map(|joined| match joined {
        Joined::Ready(output) => Some(output),
        Joined::Pending(_) => None,
    });
    outputs.collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::pin::pin;
    use std::task::{Context, Waker};

    use super::*;

    #[tokio::test]
    async fn futures_run_at_the_same_time_and_keep_their_order() {
        let turn = Cell::new(3);
        let in_turn = |own: u32| {
            let turn = &turn;
            async move {
                while turn.get() != own {
                    tokio::task::yield_now().await;
                }
                turn.set(own.wrapping_sub(1));
                own
            }
        };
        assert_eq!(join_all([1, 3, 2].map(in_turn)).await, [1, 3, 2]);
    }

    #[test]
    fn every_future_begins_if_one_panics() {
        let begun = Cell::new(0);
        let begin = |panics: bool| {
            let begun = &begun;
            async move {
                begun.set(begun.get() + 1);
                assert!(!panics, "the panic of a tier");
                std::future::pending::<()>().await;
            }
        };
        let mut joined = pin!(join_all([false, true, false].map(begin)));
        let mut context = Context::from_waker(Waker::noop());
        let polled = catch_unwind(AssertUnwindSafe(|| joined.as_mut().poll(&mut context)));
        polled.expect_err("the panic continues");
        assert_eq!(begun.get(), 3);
    }
}
