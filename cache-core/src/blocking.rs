//! Threads that wait for a future.

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use tokio::runtime::{Builder, Handle};
use tokio::task::unconstrained;

/// Time after which a future is polled again even if it was not woken. It may depend on a timer
/// that no thread drives while this one waits.
const LONGEST_WAIT: Duration = Duration::from_millis(50);

/// Wakes a thread, which then polls again.
///
/// The thread's own token (`park` and `unpark`) is not used, because user code may wait for it.
#[derive(Default)]
struct Signal {
    /// Locked for a moment only, and while the thread waits for `set`.
    is_set: Mutex<bool>,
    set: Condvar,
}

impl Signal {
    /// Waits until the signal is set, for [`LONGEST_WAIT`] at most, and resets it.
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

/// Polls a future on this thread until it is ready, and blocks the thread in between.
///
/// The thread may run a Tokio task, which has a cooperative budget for each poll. The future does
/// not use that budget: once it is used up, no Tokio future is ready before the task returns to the
/// scheduler, and a blocked task never does.
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

/// Waits for a future that needs a Tokio runtime, after the runtime of the cache has ended.
///
/// The future gets a runtime of its own, unless this thread is in a runtime already.
pub(crate) fn wait_without_home<F: Future>(future: F) -> F::Output {
    let is_in_runtime = Handle::try_current().is_ok();
    match Builder::new_current_thread().enable_time().build() {
        Ok(runtime) if !is_in_runtime => runtime.block_on(future),
        _ => wait(future),
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn waiting_thread_is_woken_by_another_thread_and_keeps_its_own_token() {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        // This token is not for `wait`, so `wait` must not consume it.
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
    fn future_with_a_timer_ends_after_the_runtime_of_the_cache_has_ended() {
        let never = std::future::pending::<()>();
        let waited = wait_without_home(async {
            tokio::time::timeout(Duration::from_millis(1), never).await
        });
        assert!(waited.is_err());
    }
}
