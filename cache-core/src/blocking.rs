//! Futures that are waited for by a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};

use tokio::runtime::Handle;

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Polls a future on this thread until it is ready, and parks the thread in between.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            // Woken before, it returns at once; woken for nothing, it asks once more.
            Poll::Pending => thread::park(),
        }
    }
}

/// Whether an async runtime still runs what it is given.
pub(crate) fn is_there(home: &Handle) -> bool {
    let probe = home.spawn(std::future::pending::<()>());
    // In one that is gone a task ends before it begins.
    let is_there = !probe.is_finished();
    probe.abort();
    is_there
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_waits_for_what_another_brings() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            sender.send(7)
        });
        assert_eq!(wait(receiver), Ok(7));
        other.join().unwrap().unwrap();
    }

    #[test]
    fn a_runtime_that_is_gone_is_told_from_one_that_is_there() {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .build()
            .unwrap();
        let handle = runtime.handle().clone();
        assert!(is_there(&handle));
        drop(runtime);
        assert!(!is_there(&handle));
    }
}
