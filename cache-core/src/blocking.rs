//! Futures that are waited for by a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};

use tokio::runtime::Handle;

/// Tells a thread to poll again. Not the thread's own token, which user code may wait for.
#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Signal {
    fn wait(&self) {
        let mut is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        while !std::mem::take(&mut *is_set) {
            is_set = self
                .set
                .wait(is_set)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

impl Wake for Signal {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        *self.is_set.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.set.notify_one();
    }
}

/// Polls a future on this thread until it is ready; in between the thread waits.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let signal = Arc::new(Signal::default());
    let waker = Waker::from(Arc::clone(&signal));
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => signal.wait(),
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
    use std::thread;
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_thread_waits_for_what_another_brings() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // That is somebody else's, and stays.
        thread::current().unpark();
        let other = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            sender.send(7)
        });
        assert_eq!(wait(receiver), Ok(7));
        other.join().unwrap().unwrap();
        thread::park();
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
