//! The connections of the streams: one for commands that do not wait, and one for each read that
//! does.
//!
//! All of them lead to one server. If one of them shows that the server cannot serve (it is
//! unreachable, or no longer a primary), all are given up together, and the server is searched
//! again for the next ones. Behind sentinels, a task asks them for as long as a server is used, so
//! that a primary that was replaced and lives on is left, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use cache_core::Error;
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, PushInfo, PushKind, RedisError};
use tokio::time::{Instant, sleep, timeout};

use crate::drivers::OwnDriver;
use crate::errors;
use crate::locator::{CHECK, Entrance, Found, Locator};
use crate::mistakes;
use crate::transport;

/// Permission to send a command again after its reply was lost, although the server may have run
/// it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Yes,
    No,
}

/// The longest time that a read waits before it is sent again, so that a connection is noticed that
/// is open on this side only.
const LONGEST_STEP: Duration = Duration::from_secs(60);

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
    /// Advances when the server is given up, so that a connection to it is not kept after that.
    generation: u64,
    /// The task that asks the sentinels about `found`. Ends with it.
    watcher: Option<OwnDriver>,
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
    generation: u64,
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
    pub(super) async fn get(
        self: &Arc<Self>,
        waits: bool,
        is_new: bool,
    ) -> Result<Connection, Error> {
        let (found, generation) = {
            let mut state = self.lock();
            if !is_new && let Some(kept) = state.kept(waits) {
                return Ok(kept);
            }
            (state.found.clone(), state.generation)
        };
        let entrance = match found {
            Some(found) => {
                let entrance = self.locator.enter(&found).await?;
                self.use_server(found, generation);
                entrance
            }
            None => {
                let (found, entrance) = self.locator.find().await?;
                match self.use_server(found, generation) {
                    None => entrance,
                    Some(other) => self.locator.enter(&other).await?,
                }
            }
        };
        let connection = self.open(&entrance, generation).await?;
        if !waits {
            let mut state = self.lock();
            if state.generation == generation {
                state.shared = Some(Connection {
                    was_kept: true,
                    ..connection.clone()
                });
            }
        }
        Ok(connection)
    }

    /// Returns the longest time that a read waits in one step. The next step is sent to the server
    /// that is used then.
    pub(super) fn longest_step(&self) -> Duration {
        match self.locator.has_sentinels() {
            true => CHECK,
            false => LONGEST_STEP,
        }
    }

    /// Uses a server, and begins to ask the sentinels about it unless a task does. Returns the
    /// server that is used if a search at the same time has found another one: sentinels do not
    /// learn of a failover at the same time.
    fn use_server(self: &Arc<Self>, found: Found, generation: u64) -> Option<Found> {
        let mut state = self.lock();
        // An earlier search may have found a server that was given up in the meantime.
        if state.generation != generation {
            return None;
        }
        let other = state.found.clone().filter(|other| !other.is_at(&found));
        if other.is_none() {
            state.found = Some(found);
        }
        // A task ends with its runtime, which may end before the streams do.
        let is_watched = state
            .watcher
            .as_ref()
            .is_some_and(|task| !task.0.is_finished());
        if self.locator.has_sentinels() && !is_watched {
            let watch = watch(Arc::downgrade(self), generation);
            state.watcher = Some(OwnDriver(tokio::spawn(watch).abort_handle()));
        }
        other
    }

    async fn open(&self, entrance: &Entrance, generation: u64) -> Result<Connection, Error> {
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
            .map_err(|error| mistakes::not_connected(&entrance.info, error))?;
        let driver = OwnDriver(tokio::spawn(driver).abort_handle());
        Ok(Connection {
            link,
            has_ended,
            renewal: entrance.life.map(|life| life.renewal),
            generation,
            _driver: Arc::new(driver),
            was_kept: false,
        })
    }

    /// Keeps the connection of a read that has waited, for the next one.
    pub(super) fn keep(&self, connection: Connection) {
        let mut state = self.lock();
        if connection.generation == state.generation && state.idle.len() < MOST_IDLE {
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
        let mut state = self.lock();
        let next = State {
            generation: state.generation + 1,
            ..State::default()
        };
        std::mem::replace(&mut *state, next)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives up the server once the sentinels name another one.
async fn watch(connections: Weak<Connections>, generation: u64) {
    loop {
        sleep(CHECK).await;
        let Some(connections) = connections.upgrade() else {
            return;
        };
        let Some(found) = connections.lock().found.clone() else {
            return;
        };
        let is_replaced = connections.locator.is_replaced(&found).await;
        if connections.lock().generation != generation {
            return;
        }
        if is_replaced {
            tracing::warn!(target: "multi_tier_cached::redis", "the sentinels name another primary; the streams leave the old one");
            connections.give_up();
            return;
        }
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

#[cfg(test)]
mod tests {
    use cache_core::tier::kit::lock;

    use super::*;
    use crate::locator::tests::{behind, says, sentinel};

    /// Two commands after a loss search at the same time, and the failover is between their
    /// answers.
    #[tokio::test]
    async fn connections_of_searches_at_the_same_time_lead_to_one_server() {
        let limit = Duration::from_secs(4);
        let answer = says(7001, 5);
        let locator = behind(vec![sentinel(&answer).await], limit);
        let connections = Arc::new(Connections::new(locator, limit));
        let (one, _) = connections.locator.find().await.unwrap();
        *lock(&answer) = Some((7002, 6));
        let (other, _) = connections.locator.find().await.unwrap();
        assert!(connections.use_server(one.clone(), 0).is_none());
        let used = connections.use_server(other, 0).expect("the first one");
        assert!(used.is_at(&one));
        // The one that is used is judged, not the one that was found last.
        assert!(connections.locator.is_replaced(&used).await);
    }
}
