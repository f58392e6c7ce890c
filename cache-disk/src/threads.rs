//! The threads that wait for the disk: so many, and so much that waits for one.
//!
//! They are not the async runtime's. What waits there for a place may be a task that nobody polls, while a plain call keeps the
//! thread that would.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};

use tokio::sync::oneshot;

/// Operations at a time: a disk that is asked for more at once answers none of them sooner.
const THREADS: usize = 16;

/// Operations that wait for a thread. What comes then is not begun.
const MOST_WAITING: usize = 4_096;

type Work = Box<dyn FnOnce() + Send>;

/// They end when this is dropped, each with what it is at.
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
        // Dropped with those that have begun, where one cannot be.
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

    /// Has it done; what nobody waits for any more is not begun, and nothing when they have ended. `None` where too much waits.
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
        if state.waiting.len() >= MOST_WAITING {
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

    /// Ends them and waits until they have ended.
    pub(crate) fn join(&self) {
        self.queue.end();
        let all = std::mem::take(&mut *lock(&self.all));
        for thread in all {
            // Work that panics is caught.
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
            // Who waits for it hears that there is no answer.
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

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn so_much_is_done_so_much_waits_and_what_nobody_waits_for_is_not_begun() {
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
        answers.extend((0..MOST_WAITING).map(|_| threads.run(work())));
        assert!(answers.iter().all(Option::is_some));
        assert!(threads.run(work()).is_none(), "more than may wait");
        // Those that have not begun.
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
        assert_eq!(Arc::strong_count(&gate), 1, "something is left");
    }
}
