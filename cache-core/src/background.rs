//! Background work, which no call waits for.
//!
//! Its concurrency and its queue are bounded, and it is cancelled at shutdown.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

/// Capacity of the queue. Work that does not fit is refused.
const QUEUE_CAPACITY: usize = 1_024;

/// Largest number of futures that run at the same time.
const MAX_CONCURRENT: usize = 16;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Background work of a runtime. Owns the task that does it.
#[derive(Default)]
pub(crate) struct Background(Mutex<Option<Running>>);

struct Running {
    queue: mpsc::Sender<Work>,
    worker: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.worker.abort();
    }
}

impl Background {
    /// Starts the task. Must be called within a Tokio runtime.
    pub(crate) fn start(&self) {
        let (queue, queued) = mpsc::channel(QUEUE_CAPACITY);
        let worker = tokio::spawn(work(queued));
        *self.lock() = Some(Running { queue, worker });
    }

    /// Queues work. Returns `false` if the queue is full, or if the task was not started or has
    /// ended.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let queue = self.lock().as_ref().map(|running| running.queue.clone());
        queue.is_some_and(|queue| queue.try_send(Box::pin(work)).is_ok())
    }

    /// Aborts the task, with the queued work and the work in progress.
    pub(crate) fn end(&self) {
        let running = self.lock().take();
        drop(running);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn work(mut queued: mpsc::Receiver<Work>) {
    let permits = Arc::new(Semaphore::new(MAX_CONCURRENT));
    // The work in progress is aborted together with this task.
    let mut in_progress = JoinSet::new();
    while let Ok(permit) = Arc::clone(&permits).acquire_owned().await
        && let Some(work) = queued.recv().await
    {
        while in_progress.try_join_next().is_some() {}
        in_progress.spawn(async move {
            work.await;
            drop(permit);
        });
    }
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Background")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn work_beyond_the_limits_is_refused_and_no_work_outlives_the_task() {
        let background = Background::default();
        assert!(!background.run(async {}), "the task is not started");
        background.start();
        let (gate, done) = (Arc::new(Semaphore::new(0)), Arc::new(AtomicUsize::new(0)));
        let mut taken = 0;
        loop {
            let (gate, done) = (Arc::clone(&gate), Arc::clone(&done));
            let is_taken = background.run(async move {
                let _permit = gate.acquire().await;
                done.fetch_add(1, Ordering::SeqCst);
            });
            if !is_taken {
                break;
            }
            taken += 1;
            tokio::task::yield_now().await;
        }
        assert_eq!(taken, QUEUE_CAPACITY + MAX_CONCURRENT);
        gate.add_permits(1);
        while done.load(Ordering::SeqCst) < taken {
            tokio::task::yield_now().await;
        }
        background.end();
        assert_eq!(Arc::strong_count(&gate), 1, "work outlives the task");
        assert!(!background.run(async {}));
    }
}
