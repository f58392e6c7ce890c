//! The end of a link's connections.
//!
//! A connection of the client ends when the last clone of it is dropped. A future that was polled once and is kept holds
//! a clone for as long as its owner likes, so the server is asked to close the connections of a link that is lost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::link::Connected;

/// How long a server may take to close them. One that does not answer has its own timeouts.
const LONGEST: Duration = Duration::from_millis(100);

/// Connections of a link that one operation has to itself. As many as there are such operations under way.
#[derive(Debug, Default)]
pub(crate) struct Others(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    next: u64,
    open: HashMap<u64, MultiplexedConnection>,
    is_closed: bool,
}

/// Keeps a connection among the others of a link until it is dropped.
#[derive(Debug)]
pub(crate) struct Listed {
    others: Arc<Others>,
    number: u64,
}

impl Others {
    /// Lists a connection, so that it ends with the link; `None` if the link has ended.
    pub(crate) fn list(self: &Arc<Self>, connection: &MultiplexedConnection) -> Option<Listed> {
        let mut state = self.lock();
        if state.is_closed {
            return None;
        }
        state.next += 1;
        let number = state.next;
        state.open.insert(number, connection.clone());
        drop(state);
        Some(Listed {
            others: Arc::clone(self),
            number,
        })
    }

    fn close(&self) -> Vec<MultiplexedConnection> {
        let mut state = self.lock();
        state.is_closed = true;
        state
            .open
            .drain()
            .map(|(_, connection)| connection)
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let listed = self.others.lock().open.remove(&self.number);
        // Outside of the lock: it may be the last clone.
        drop(listed);
    }
}

impl Connected {
    /// Has the server close the connections of this link.
    pub(crate) async fn hang_up(self) {
        let mut connections = self.others.close();
        connections.extend([self.data, self.channel]);
        let mut quits = JoinSet::new();
        for mut connection in connections {
            quits.spawn(async move {
                let _ = redis::cmd("QUIT").exec_async(&mut connection).await;
            });
        }
        // Those that are left are aborted with the set. A task that was cancelled (the runtime ends) is no error.
        let all = async { while quits.join_next().await.is_some() {} };
        let _ = timeout(LONGEST, all).await;
    }
}
