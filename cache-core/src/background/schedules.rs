//! The queue of background work under every schedule of two or three threads, by loom.

use std::sync::Arc;

use loom::future::block_on;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

use super::Queue;

#[derive(Default)]
struct Counters {
    run: AtomicU64,
    dropped: AtomicU64,
}

struct Work(Arc<Counters>);

impl Drop for Work {
    fn drop(&mut self) {
        self.0.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

fn add(queue: &Queue, counters: &Arc<Counters>) -> bool {
    let work = Work(Arc::clone(counters));
    let added = queue.add(Box::pin(async move {
        work.0.run.fetch_add(1, Ordering::SeqCst);
    }));
    added.is_ok()
}

async fn run_all(queue: &Queue) {
    while let Some(work) = queue.next().await {
        work.await;
    }
}

#[test]
fn task_that_waits_for_work_is_woken_by_work_and_by_the_end() {
    loom::model(|| {
        let (queue, counters) = (Arc::new(Queue::default()), Arc::<Counters>::default());
        let runner = thread::spawn({
            let queue = Arc::clone(&queue);
            move || {
                drop(block_on(queue.next()).expect("the queue is open"));
                assert!(block_on(queue.next()).is_none(), "the queue is closed");
            }
        });
        assert!(add(&queue, &counters));
        while counters.dropped.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        queue.close();
        runner.join().expect("the runner");
    });
}

#[test]
fn work_that_is_added_while_the_queue_is_closed_is_run_or_dropped() {
    loom::model(|| {
        let (queue, counters) = (Arc::new(Queue::default()), Arc::<Counters>::default());
        let runner = thread::spawn({
            let queue = Arc::clone(&queue);
            move || block_on(run_all(&queue))
        });
        let closer = thread::spawn({
            let queue = Arc::clone(&queue);
            move || queue.close()
        });
        let is_accepted = add(&queue, &counters);
        runner.join().expect("the runner");
        closer.join().expect("the closer");
        // The queue still exists, as it does until its owner begins another.
        assert_eq!(counters.dropped.load(Ordering::SeqCst), 1, "work is left");
        let run = counters.run.load(Ordering::SeqCst);
        assert!(is_accepted || run == 0, "work that was refused has run");
    });
}
