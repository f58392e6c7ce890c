//! The tasks that drive the connections of a link.
//!
//! A connection of the client library is a sender to its driver, and the driver owns the socket. A
//! future that is not polled may keep a clone of the connection for any length of time, so the
//! socket must not depend on the clones. The link owns the drivers instead. When it is lost they
//! are aborted, which closes the sockets and fails every clone, even if the server does not
//! respond.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::task::{AbortHandle, JoinSet};

/// The drivers of one link at a time. Aborts them when it is dropped.
#[derive(Debug, Default)]
pub(crate) struct Drivers(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The number of the link; zero for none.
    generation: u64,
    is_closed: bool,
    /// The link has two connections, and one for each operation that needs its own.
    tasks: JoinSet<()>,
}

/// The driver of a connection that belongs to one operation. Aborts it when dropped: by itself it
/// would end only after it has sent what the operation wrote, which a stalled server may prevent.
#[derive(Debug)]
pub(crate) struct OwnDriver(pub(crate) AbortHandle);

impl Drop for OwnDriver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Drivers {
    /// Accepts drivers of the link of that number, and aborts those of earlier links and of
    /// attempts to make one.
    pub(crate) fn open(&self, generation: u64) {
        let mut state = self.lock();
        state.generation = generation;
        abort_all(state);
    }

    /// Spawns the driver of a connection of that link; `None` if the link has ended.
    pub(crate) fn drive(
        &self,
        generation: u64,
        driver: impl Future<Output = ()> + Send + 'static,
    ) -> Option<AbortHandle> {
        let mut state = self.lock();
        if state.is_closed || state.generation != generation {
            return None;
        }
        // Finished tasks stay in the set until they are joined.
        while state.tasks.try_join_next().is_some() {}
        Some(state.tasks.spawn(driver))
    }

    /// Aborts the drivers of the link of that number, and refuses further ones. A later link keeps
    /// its drivers.
    pub(crate) fn end(&self, generation: u64) {
        let mut state = self.lock();
        if state.generation == generation {
            state.generation = 0;
            abort_all(state);
        }
    }

    /// Aborts all drivers, and refuses those of every later link.
    pub(crate) fn close(&self) {
        let mut state = self.lock();
        state.is_closed = true;
        abort_all(state);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Aborts the drivers after the lock is released, since that may wake a runtime.
fn abort_all(mut state: MutexGuard<'_, State>) {
    let tasks = std::mem::take(&mut state.tasks);
    drop(state);
    drop(tasks);
}

#[cfg(test)]
mod tests;
