//! Futures that are waited for by a thread.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::unconstrained;

/// A future is polled again after that, woken or not: it may watch a clock that nothing rings for while this thread waits.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Tells a thread to poll again. Not the thread's own token, which user code may wait for.
#[derive(Default)]
struct Signal {
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Signal {
    /// Waits until it is set, for a while.
    fn wait(&self) {
        let is_set = self.is_set.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .set
            .wait_timeout_while(is_set, LONGEST_WAIT, |is_set| !*is_set);
        let (mut is_set, _) = waited.unwrap_or_else(PoisonError::into_inner);
        *is_set = false;
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
///
/// A task may be what keeps the thread. What it may do in one turn does not count here: once that is used up nothing would be ready
/// before it gave its turn back, which it cannot.
pub(crate) fn wait<F: Future>(future: F) -> F::Output {
    let mut future = pin!(unconstrained(future));
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

/// Waits for a future that needs an async runtime where there is none any more.
pub(crate) fn wait_without_home<F: Future>(future: F) -> F::Output {
    let borrowed = Handle::try_current().is_ok();
    match Builder::new_current_thread().enable_time().build() {
        Ok(tokio_context) if !borrowed => tokio_context.block_on(future),
        _ => wait(future),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

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
    fn what_needs_a_runtime_has_one_where_its_own_is_gone() {
        let never = std::future::pending::<()>();
        let waited = wait_without_home(async {
            tokio::time::timeout(Duration::from_millis(1), never).await
        });
        assert!(waited.is_err());
    }
}
