//! The connections of the streams: one for commands that do not wait, and one for each read that
//! does.
//!
//! All of them lead to one server. If one of them shows that the server cannot serve (it is
//! unreachable, or no longer a primary), all are given up together, and the next ones are made to
//! the first address.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Error;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, PushInfo, PushKind, RedisError};
use tokio::time::timeout;

use crate::errors;

/// Permission to send a command again after its reply was lost, although the server may have run
/// it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

/// The largest number of idle connections that are kept for reads that wait.
const MOST_IDLE: usize = 8;

pub(super) struct Connections {
    first: Client,
    connect_limit: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The node of a cluster that has the namespace, as the first address has named it.
    moved: Option<Client>,
    shared: Option<Connection>,
    idle: Vec<Connection>,
}

/// A connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) link: MultiplexedConnection,
    /// Set by the reader of the connection. `Release` and `Acquire`: a command that sees it set does
    /// not use the connection.
    has_ended: Arc<AtomicBool>,
    /// `true` if the connection was used before, so that it may have been broken for some time.
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

    /// Returns the shared connection, or one for a read that `waits`. It is opened now if there is
    /// none, or if it must be new.
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
        // Each operation has its own time limit.
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
            .unwrap_or_else(|_| Err(errors::no_reply()))
            .map_err(errors::not_connected)?;
        Ok(Connection {
            link,
            has_ended,
            was_kept: false,
        })
    }

    /// Keeps the connection of a read that has waited, for the next one.
    pub(super) fn keep(&self, connection: Connection) {
        let mut state = self.lock();
        if state.idle.len() < MOST_IDLE {
            state.idle.push(Connection {
                was_kept: true,
                ..connection
            });
        }
    }

    /// Gives up all connections, and goes back to the first address. Returns `true` if the
    /// namespace had moved to another one.
    pub(super) fn give_up(&self) -> bool {
        std::mem::take(&mut *self.lock()).moved.is_some()
    }

    /// Goes to the node of a cluster that has the namespace, if the error names it.
    pub(super) fn follow(&self, error: &Error) -> bool {
        let mut state = self.lock();
        let client = state.moved.as_ref().unwrap_or(&self.first);
        let Some(moved) = errors::moved_client(client, error) else {
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

/// Returns `true` if after this error no connection to the same server can be used.
pub(super) fn is_fatal(error: &RedisError) -> bool {
    // `UNBLOCKED`: the server was a primary until now, and ends all waiting reads.
    errors::is_fatal(error) || error.code() == Some("UNBLOCKED")
}

/// Returns `true` if the server refused the command, so that it was certainly not run.
pub(super) fn is_refused(error: &RedisError) -> bool {
    errors::is_fatal(error) && error.code().is_some()
}
