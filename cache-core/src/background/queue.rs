//! The queue of background work, between those that add work and the task that runs it.
//!
//! Invariants:
//! 1. Work that was accepted is taken by the task, or dropped when the queue is closed. None stays
//!    behind: whether the queue is closed is checked under the lock under which work is added.
//! 2. No work is dropped and no waker runs while the lock is held: both may be user code, which may
//!    add work.

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::task::{Poll, Waker};

use crate::sync::{Mutex, lock};

/// Capacity of the queue. Work that does not fit is refused.
pub(super) const CAPACITY: usize = 1_024;

/// Work that no caller waits for.
pub(crate) type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The queue of one task.
#[derive(Default)]
pub(crate) struct Queue(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    is_closed: bool,
    /// The task, while it waits for work.
    task: Option<Waker>,
}

impl Queue {
    /// Adds work.
    ///
    /// # Errors
    /// The work itself, if the queue is full or closed.
    pub(crate) fn add(&self, work: Work) -> Result<(), Work> {
        let task = {
            let mut state = lock(&self.0);
            if state.is_closed || state.waiting.len() >= CAPACITY {
                return Err(work);
            }
            state.waiting.push_back(work);
            state.task.take()
        };
        if let Some(task) = task {
            task.wake();
        }
        Ok(())
    }

    /// Waits for work. Returns `None` if the queue is closed.
    ///
    /// Cancel safe: the future takes work only when it is ready.
    pub(crate) async fn next(&self) -> Option<Work> {
        poll_fn(|cx| {
            let waker = cx.waker().clone();
            // Dropped outside the lock.
            let _earlier = {
                let mut state = lock(&self.0);
                if let Some(work) = state.waiting.pop_front() {
                    return Poll::Ready(Some(work));
                }
                if state.is_closed {
                    return Poll::Ready(None);
                }
                state.task.replace(waker)
            };
            Poll::Pending
        })
        .await
    }

    /// Refuses work from now on, and drops the work that waits.
    pub(crate) fn close(&self) {
        let (waiting, task) = {
            let mut state = lock(&self.0);
            state.is_closed = true;
            (std::mem::take(&mut state.waiting), state.task.take())
        };
        if let Some(task) = task {
            task.wake();
        }
        for work in waiting {
            // A panic is of this work alone, as it is of work that runs. It has been reported by
            // the panic hook.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(work)));
        }
    }

    /// Returns the number of works that wait.
    pub(super) fn len(&self) -> usize {
        lock(&self.0).waiting.len()
    }

    /// Returns `true` if no work is accepted any more.
    pub(super) fn is_closed(&self) -> bool {
        lock(&self.0).is_closed
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.close();
    }
}
