//! A task that ends with its owner.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::task::{JoinError, JoinHandle};

/// A Tokio task that is aborted when this is dropped.
///
/// A plain [`JoinHandle`] detaches its task when it is dropped, so the task would outlive the tier
/// or the call that it works for. As a future, this resolves with the result of the task.
pub struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> AbortOnDrop<T> {
    /// Takes ownership of a task.
    #[must_use]
    pub fn new(task: JoinHandle<T>) -> Self {
        Self(task)
    }

    /// Aborts the task, and waits until it has ended.
    ///
    /// # Cancel safety
    /// Cancel safe: if this is dropped, the task is aborted as well.
    pub async fn stop(mut self) {
        self.0.abort();
        let _ = Pin::new(&mut self.0).await;
    }
}

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl<T> fmt::Debug for AbortOnDrop<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AbortOnDrop").field(&self.0.id()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn task_ends_when_its_owner_is_dropped_or_stops_it() {
        let shared = Arc::new(());
        let spawn = || {
            let held = Arc::clone(&shared);
            AbortOnDrop::new(tokio::spawn(async move {
                std::future::pending::<()>().await;
                drop(held);
            }))
        };
        spawn().stop().await;
        assert_eq!(Arc::strong_count(&shared), 1, "the task was not stopped");
        drop(spawn());
        while Arc::strong_count(&shared) > 1 {
            tokio::task::yield_now().await;
        }
        let result = AbortOnDrop::new(tokio::spawn(async { 7 })).await;
        assert_eq!(result.expect("the task is not aborted"), 7);
    }
}
