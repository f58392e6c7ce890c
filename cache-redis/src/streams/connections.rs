//! The connections of the streams: one for all that answers at once, and one for each read that waits.
//!
//! All lead to one server. What one of them tells of it (it is gone, it is no primary any more) is so for the others: they are
//! given up together, and the next ones are made to the first address, which knows best.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Error;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisError};
use tokio::time::timeout;

use crate::server;

/// Whether a command may be sent again if its reply is lost: it may have been executed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

/// Most connections that are kept for reads that wait.
const MOST_IDLE: usize = 8;

pub(super) struct Connections {
    first: Client,
    connect_limit: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The node of a cluster that the first one has named as the namespace's.
    moved: Option<Client>,
    shared: Option<Connection>,
    idle: Vec<Connection>,
}

/// A connection, and whether its end was seen.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) link: MultiplexedConnection,
    has_ended: Arc<AtomicBool>,
    /// Whether it was there before: it may have been of no use for long.
    pub(super) was_kept: bool,
}

impl Connections {
    pub(super) fn new(first: Client, connect_limit: Duration) -> Self {
        Self {
            first,
            connect_limit,
            state: Mutex::default(),
        }
    }

    /// The one that all share, or one for a read that waits; made now where there is none, or where none that was there will do.
    pub(super) async fn get(&self, waits: bool, is_new: bool) -> Result<Connection, Error> {
        let client = {
            let mut state = self.lock();
            if !is_new && let Some(kept) = state.kept(waits) {
                return Ok(kept);
            }
            state.moved.as_ref().unwrap_or(&self.first).clone()
        };
        let connection = self.open(&client).await?;
        if !waits {
            self.lock().shared = Some(Connection {
                was_kept: true,
                ..connection.clone()
            });
        }
        Ok(connection)
    }

    async fn open(&self, client: &Client) -> Result<Connection, Error> {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        // The limits are ours.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_limit))
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| -> Result<(), SendError> {
                if push.kind == PushKind::Disconnection {
                    ended.store(true, Ordering::Release);
                }
                Ok(())
            });
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let link = timeout(self.connect_limit, connecting)
            .await
            .unwrap_or_else(|_| Err(server::no_answer()))
            .map_err(server::not_connected)?;
        Ok(Connection {
            link,
            has_ended,
            was_kept: false,
        })
    }

    /// Keeps one that a read has waited on.
    pub(super) fn keep(&self, connection: Connection) {
        let mut state = self.lock();
        if state.idle.len() < MOST_IDLE {
            state.idle.push(Connection {
                was_kept: true,
                ..connection
            });
        }
    }

    /// Gives all of them up, and goes back to the first address; `true` where that was left.
    pub(super) fn give_up(&self) -> bool {
        std::mem::take(&mut *self.lock()).moved.is_some()
    }

    /// Goes to the node of a cluster that has the namespace, if that is what the error says.
    pub(super) fn follow(&self, error: &Error) -> bool {
        let mut state = self.lock();
        let client = state.moved.as_ref().unwrap_or(&self.first);
        let Some(moved) = server::moved_client(client, error) else {
            return false;
        };
        *state = State {
            moved: Some(moved),
            ..State::default()
        };
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self, waits: bool) -> Option<Connection> {
        let lasts = |kept: &Connection| !kept.has_ended.load(Ordering::Acquire);
        if waits {
            self.idle.retain(lasts);
            return self.idle.pop();
        }
        self.shared.take_if(|kept| !lasts(kept));
        self.shared.clone()
    }
}

/// Whether a connection that gave this error is of no further use, nor are those that lead to the same server.
pub(super) fn is_over(error: &RedisError) -> bool {
    // It was a primary until now, and it ends those who waited.
    server::is_fatal(error) || error.code() == Some("UNBLOCKED")
}

/// Whether the server has refused it, so that it is certain that nothing was done.
pub(super) fn is_refused(error: &RedisError) -> bool {
    server::is_fatal(error) && error.code().is_some()
}
