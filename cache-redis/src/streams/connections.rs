//! The connections of the streams: one for commands that do not wait, and one for each read that
//! does.
//!
//! All of them lead to one server. If one of them shows that the server cannot serve (it is
//! unreachable, or no longer a primary), all are given up together, and the server is searched again
//! for the next ones.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Error;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError};
use tokio::time::{Instant, timeout};

use crate::drivers::OwnDriver;
use crate::errors;
use crate::locator::{Entrance, Found, Locator};
use crate::transport;

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
    locator: Locator,
    connect_limit: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The server of the connections.
    found: Option<Found>,
    shared: Option<Connection>,
    idle: Vec<Connection>,
}

/// A connection.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) link: MultiplexedConnection,
    /// Set by the reader of the connection. `Release` and `Acquire`: a command that sees it set
    /// does not use the connection.
    has_ended: Arc<AtomicBool>,
    /// When the credentials of the connection are to be renewed. It is not used any more then.
    renewal: Option<Instant>,
    _driver: Arc<OwnDriver>,
    /// `true` if the connection was used before, so that it may have been broken for some time.
    pub(super) was_kept: bool,
}

impl Connection {
    /// The time for which the connection may be used; `None` if its credentials do not end.
    pub(super) fn left(&self) -> Option<Duration> {
        let renewal = self.renewal?;
        Some(renewal.saturating_duration_since(Instant::now()))
    }
}

impl Connections {
    pub(super) fn new(locator: Locator, connect_limit: Duration) -> Self {
        Self {
            locator,
            connect_limit,
            state: Mutex::default(),
        }
    }

    /// Returns the shared connection, or one for a read that `waits`. It is opened now if there is
    /// none, or if it must be new.
    pub(super) async fn get(&self, waits: bool, is_new: bool) -> Result<Connection, Error> {
        let found = {
            let mut state = self.lock();
            if !is_new && let Some(kept) = state.kept(waits) {
                return Ok(kept);
            }
            state.found.clone()
        };
        let entrance = match found {
            Some(found) => self.locator.enter(&found).await?,
            None => {
                let (found, entrance) = self.locator.find().await?;
                self.lock().found = Some(found);
                entrance
            }
        };
        let connection = self.open(&entrance).await?;
        if !waits {
            self.lock().shared = Some(Connection {
                was_kept: true,
                ..connection.clone()
            });
        }
        Ok(connection)
    }

    async fn open(&self, entrance: &Entrance) -> Result<Connection, Error> {
        let has_ended = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&has_ended);
        // Each operation has its own time limit.
        let config = AsyncConnectionConfig::new()
            .set_response_timeout(None)
            .set_push_sender(move |push: PushInfo| -> Result<(), SendError> {
                if push.kind == PushKind::Disconnection {
                    ended.store(true, Ordering::Release);
                }
                Ok(())
            });
        let connecting = transport::connect(&entrance.info, self.locator.root(), config);
        let (link, driver) = timeout(self.connect_limit, connecting)
            .await
            .unwrap_or_else(|_| Err(errors::no_reply()))
            .map_err(errors::not_connected)?;
        let driver = OwnDriver(tokio::spawn(driver).abort_handle());
        Ok(Connection {
            link,
            has_ended,
            renewal: entrance.life.map(|life| life.renewal),
            _driver: Arc::new(driver),
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

    /// Gives up all connections. The server is searched again for the next one. Returns `true` if
    /// another one may be found at once.
    pub(super) fn give_up(&self) -> bool {
        let before = self.take();
        self.locator.forget() && before.found.is_some()
    }

    /// Goes to the node of a cluster that has the shard, if the error names it.
    pub(super) fn follow(&self, error: &Error) -> bool {
        if errors::code_of(error) != Some("MOVED") {
            return false;
        }
        drop(self.take());
        self.locator.follow(error);
        true
    }

    /// Takes the state out of the lock: to drop a connection may wake the task that drives it.
    fn take(&self) -> State {
        std::mem::take(&mut *self.lock())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn kept(&mut self, waits: bool) -> Option<Connection> {
        let lasts = |kept: &Connection| {
            !kept.has_ended.load(Ordering::Acquire) && kept.left() != Some(Duration::ZERO)
        };
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
