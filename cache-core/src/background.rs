//! What a runtime does that no call waits for: so much at a time, so much waiting, and none after its end.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};

/// Most that waits; what comes then is not done.
const MOST_WAITING: usize = 1_024;

/// Most that is done at a time.
const MOST_AT_A_TIME: usize = 16;

type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Owns the task that does it.
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
    /// Begins; to be called in an async runtime.
    pub(crate) fn start(&self) {
        let (queue, waiting) = mpsc::channel(MOST_WAITING);
        let worker = tokio::spawn(work(waiting));
        *self.lock() = Some(Running { queue, worker });
    }

    /// Has it done when there is time; `false` when too much waits, or it has ended.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) -> bool {
        let queue = self.lock().as_ref().map(|running| running.queue.clone());
        queue.is_some_and(|queue| queue.try_send(Box::pin(work)).is_ok())
    }

    /// Ends it, with what waits and what is under way.
    pub(crate) fn end(&self) {
        let running = self.lock().take();
        drop(running);
    }

    fn lock(&self) -> MutexGuard<'_, Option<Running>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn work(mut waiting: mpsc::Receiver<Work>) {
    let places = Arc::new(Semaphore::new(MOST_AT_A_TIME));
    // Aborted with this task.
    let mut under_way = JoinSet::new();
    while let Ok(place) = Arc::clone(&places).acquire_owned().await
        && let Some(work) = waiting.recv().await
    {
        while under_way.try_join_next().is_some() {}
        under_way.spawn(async move {
            work.await;
            drop(place);
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
    async fn so_much_is_done_so_much_waits_and_nothing_outlives_it() {
        let background = Background::default();
        assert!(!background.run(async {}), "it has not begun");
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
        assert_eq!(taken, MOST_WAITING + MOST_AT_A_TIME);
        gate.add_permits(1);
        while done.load(Ordering::SeqCst) < taken {
            tokio::task::yield_now().await;
        }
        background.end();
        assert_eq!(Arc::strong_count(&gate), 1, "something is left");
        assert!(!background.run(async {}));
    }
}
