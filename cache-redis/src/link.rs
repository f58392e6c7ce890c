//! The link to the server, as calls use it.
//!
//! A link is two connections to one server: one for the records, and one for the channel and its
//! barrier, which a large record must not delay. They are made together and lost together. Neither
//! reconnects by itself: a lease or the state of the channel must not outlive its connection
//! unnoticed.
//!
//! Calls use the current link or go on without one; they never wait for a link. Only the
//! [`supervisor`](crate::supervisor) makes links. [`Shared::known_to_replicas`] opens a connection of
//! its own beside the link, because `WAIT` blocks the connection that sends it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use cache_core::tier::LastError;
use cache_core::{Error, ErrorKind, unix_millis};
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::breaker::Breaker;
use crate::bus::Bus;
use crate::config::Settings;
use crate::current::Current;
use crate::drivers::Drivers;
use crate::guards::Guards;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::leases::Leases;
use crate::permissions::Permissions;
use crate::server::{self, Identity};

/// The state that calls and the supervisor share.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    /// The node of a cluster that has the namespace, if the first address is another node.
    moved: Mutex<Option<Client>>,
    /// Why there is no link, while there is none.
    pub(crate) last_error: LastError,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) bus: Arc<Bus>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) guards: Guards,
    pub(crate) permissions: Permissions,
    pub(crate) journal: Journal,
    pub(crate) current: Current<Connected>,
    pub(crate) drivers: Drivers,
    pub(crate) generations: AtomicU64,
    /// The number of the last link that was lost.
    pub(crate) dead: AtomicU64,
    /// The server of the last attachment. A server that takes its place may not know what was sent
    /// to it.
    pub(crate) attached: Mutex<Option<Arc<Identity>>>,
    /// The clock of the last server. Records are judged by it also after the connection was lost.
    pub(crate) clock: RwLock<Option<ServerClock>>,
    pub(crate) lost: Notify,
    pub(crate) counters: Counters,
    /// Whether the server was seen to evict keys at random.
    pub(crate) evicts_at_random: AtomicBool,
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) isolations: AtomicU64,
    pub(crate) history_changes: AtomicU64,
    pub(crate) replays: AtomicU64,
}

/// The two connections, and the server they lead to.
#[derive(Clone)]
pub(crate) struct Connected {
    pub(crate) data: MultiplexedConnection,
    pub(crate) channel: MultiplexedConnection,
    pub(crate) identity: Arc<Identity>,
}

/// The server's time at a moment of the local monotonic clock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerClock {
    pub(crate) millis: u64,
    pub(crate) at: Instant,
}

impl std::fmt::Debug for Connected {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connected")
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        keys: Keys,
        bus: Arc<Bus>,
        journal: Journal,
    ) -> Self {
        Self {
            current: Current::new(settings.breaker_threshold),
            client,
            moved: Mutex::default(),
            last_error: LastError::default(),
            settings,
            keys,
            bus,
            leases: Arc::default(),
            guards: Guards::default(),
            permissions: Permissions::default(),
            journal,
            drivers: Drivers::default(),
            generations: AtomicU64::new(0),
            dead: AtomicU64::new(0),
            attached: Mutex::default(),
            clock: RwLock::new(None),
            lost: Notify::new(),
            counters: Counters::default(),
            evicts_at_random: AtomicBool::new(false),
        }
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.current.breaker
    }

    /// Whether the tier was shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.current.is_closed()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.current.get().is_some()
    }

    /// Milliseconds by the server's clock, or by the clock of this host until a server was reached.
    pub(crate) fn now(&self) -> u64 {
        let clock = *self.clock.read().unwrap_or_else(PoisonError::into_inner);
        clock.map_or_else(unix_millis, |ServerClock { millis, at }| {
            let since = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            millis.saturating_add(since)
        })
    }

    /// Notes the server's time. All instances judge records by that clock, so each must follow it
    /// when it is set.
    pub(crate) fn set_clock(&self, millis: u64) {
        let at = Instant::now();
        let clock = ServerClock { millis, at };
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = Some(clock);
    }

    /// The configured address, without secrets.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// The client for the next connection.
    pub(crate) fn client(&self) -> Client {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.as_ref().unwrap_or(&self.client).clone()
    }

    /// Follows the redirection of a cluster's node to the one that has the namespace, or goes back
    /// to the first address after any other error. Returns `true` if the other node can be tried at
    /// once.
    pub(crate) fn follow(&self, error: &Error) -> bool {
        let followed = server::moved_client(&self.client(), error);
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = moved.is_none();
        *moved = followed;
        is_first && moved.is_some()
    }

    /// Runs one operation on the current link, whose number it receives.
    pub(crate) async fn run<T, F>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(Connected, u64) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let Some((connected, generation)) = self.current.get() else {
            let what = format!("{what}: Redis at {} is not connected", self.address());
            return Err(self.last_error.unavailable(what));
        };
        match timeout(within, operation(connected, generation)).await {
            Ok(Ok(value)) => {
                self.current.answered(generation);
                Ok(value)
            }
            Ok(Err(error)) => {
                if server::is_fatal(&error) {
                    self.lose(generation);
                }
                self.permissions.doubt();
                Err(Error::with_source(server::kind_of(&error), what, error))
            }
            Err(_) => {
                if self.current.timed_out(generation) {
                    tracing::warn!(
                        "Redis does not answer in time; going on without it until it does"
                    );
                    self.lose(generation);
                }
                Err(Error::new(
                    ErrorKind::TimedOut,
                    format!(
                        "{what}: no answer from Redis within {} ms",
                        within.as_millis()
                    ),
                ))
            }
        }
    }

    /// Gives up the link with that number and closes its connections. A later link is kept. A link
    /// that is not in place yet is given up as well, because its reader may see its end before
    /// that.
    pub(crate) fn lose(&self, generation: u64) {
        self.dead.fetch_max(generation, Ordering::SeqCst);
        self.bus.close(generation);
        if self.current.lose(generation, || self.isolate()) {
            self.bus.waiters.wake_all();
        }
        self.drivers.end(generation);
        self.lost.notify_one();
    }

    /// Notes that invalidations of other instances are no longer received. This runs while no other
    /// link can be put in place, so that it does not end the state of a later link.
    pub(crate) fn isolate(&self) {
        self.counters.isolations.fetch_add(1, Ordering::Relaxed);
        self.bus.coherence.revoke();
        self.bus.epochs.begin(None);
        self.leases.begin(u64::MAX);
        self.guards.begin(u64::MAX);
    }
}
