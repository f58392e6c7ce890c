//! A pool of threads that wait for the disk, with a bounded queue.
//!
//! The blocking pool of the async runtime cannot be used. A plain call blocks a thread of the
//! runtime, and that thread may be the only one that could run the task which the call waits for.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use cache_core::tier::kit::lock;
use tokio::sync::oneshot;

/// The number of threads. More operations at a time would not make the disk faster.
const THREADS: usize = 16;

/// The number of operations that may wait for a thread. Further ones are refused.
const MAX_WAITING: usize = 4_096;

/// A queued operation.
type Work = Box<dyn FnOnce() + Send>;

/// The pool. If it is dropped, each thread ends after what it does now.
pub(crate) struct Threads {
    queue: Arc<Queue>,
    all: Mutex<Vec<JoinHandle<()>>>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Work>,
    has_ended: bool,
}

impl Threads {
    pub(crate) fn start() -> io::Result<Self> {
        // If a thread cannot be started, this is dropped and ends those that were.
        let threads = Self {
            queue: Arc::default(),
            all: Mutex::default(),
        };
        for _ in 0..THREADS {
            let queue = Arc::clone(&threads.queue);
            let thread = Builder::new().name("mtc-disk".to_owned());
            let thread = thread.spawn(move || queue.work())?;
            lock(&threads.all).push(thread);
        }
        Ok(threads)
    }

    /// Queues an operation, and returns the receiver of its result; `None` if the queue is full. If
    /// the receiver is dropped before the operation has begun, the operation does not begin. After
    /// the end of the pool, nothing begins and the receiver fails.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Option<oneshot::Receiver<T>> {
        let (answer, receiver) = oneshot::channel();
        let work = Box::new(move || {
            if !answer.is_closed() {
                let _ = answer.send(work());
            }
        });
        let mut state = self.queue.lock();
        if state.waiting.len() >= MAX_WAITING {
            return None;
        }
        if state.has_ended {
            return Some(receiver);
        }
        state.waiting.push_back(work);
        drop(state);
        self.queue.changed.notify_one();
        Some(receiver)
    }

    /// Ends the threads, and waits until they have ended.
    pub(crate) fn join(&self) {
        self.queue.end();
        let all = std::mem::take(&mut *lock(&self.all));
        for thread in all {
            // The threads catch panics, so this does not fail.
            let _ = thread.join();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.queue.end();
    }
}

impl Queue {
    fn work(&self) {
        loop {
            let mut state = self.lock();
            let work = loop {
                if state.has_ended {
                    return;
                }
                match state.waiting.pop_front() {
                    Some(work) => break work,
                    None => {
                        state = self
                            .changed
                            .wait(state)
                            .unwrap_or_else(PoisonError::into_inner);
                    }
                }
            };
            drop(state);
            // After a panic the receiver fails, and the thread continues.
            let _ = catch_unwind(AssertUnwindSafe(work));
        }
    }

    fn end(&self) {
        let waiting = {
            let mut state = self.lock();
            state.has_ended = true;
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn pool_refuses_more_than_its_queue_and_skips_operations_whose_caller_left() {
        let threads = Threads::start().unwrap();
        let (gate, done) = (Arc::new(Mutex::new(())), Arc::new(AtomicUsize::new(0)));
        let (begun, has_begun) = mpsc::channel();
        let closed = gate.lock().unwrap();
        let work = || {
            let (gate, done, begun) = (Arc::clone(&gate), Arc::clone(&done), begun.clone());
            move || {
                let _ = begun.send(());
                drop(gate.lock());
                done.fetch_add(1, Ordering::SeqCst);
            }
        };
        let mut answers: Vec<_> = (0..THREADS).map(|_| threads.run(work())).collect();
        for _ in 0..THREADS {
            has_begun.recv().unwrap();
        }
        answers.extend((0..MAX_WAITING).map(|_| threads.run(work())));
        assert!(answers.iter().all(Option::is_some));
        assert!(threads.run(work()).is_none(), "the queue is full");
        // Drops the receivers of the operations that have not begun.
        answers.truncate(THREADS);
        drop(closed);
        for answer in answers.into_iter().flatten() {
            assert_eq!(answer.blocking_recv(), Ok(()));
        }
        threads
            .run(|| panic!("caught"))
            .unwrap()
            .blocking_recv()
            .unwrap_err();
        threads.join();
        let late = threads.run(work()).unwrap();
        late.blocking_recv().unwrap_err();
        assert_eq!(done.load(Ordering::SeqCst), THREADS);
        assert_eq!(Arc::strong_count(&gate), 1, "an operation is left");
    }
}
