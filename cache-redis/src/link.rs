//! The link to the server, as calls use it.
//!
//! A link is two connections to one server: one for the records, and one for the channel and its barrier, which a large record
//! must not hold up. They are made together and lost together. Neither mends itself behind the link: what was agreed on it (a
//! lease, what is known of the channel) must not outlive it unseen.
//!
//! Calls use the current link or go on without one; they never wait for a link. Only the
//! [`supervisor`](crate::supervisor) makes links. [`Shared::known_to_replicas`] opens a connection of
//! its own beside the link, because `WAIT` blocks the connection that sends it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cache_core::tier::Trouble;
use cache_core::{Error, ErrorKind, unix_millis};
use redis::aio::MultiplexedConnection;
use redis::{Client, RedisError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
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
use crate::script::Scripts;
use crate::server::{self, Identity};
use crate::supervisor::supervise;

/// Time that a shutdown may spend on what is queued. Orchestrators commonly kill a process 30 s after
/// they asked it to end.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<Supervisor>>,
}

/// What calls and the supervisor share.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    /// The node of a cluster that the first one has named as the namespace's.
    moved: Mutex<Option<Client>>,
    /// Why there is no link, while there is none.
    pub(crate) trouble: Trouble,
    pub(crate) settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
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
    /// The server last attached to: what was sent to another may not be known to the one that took its place.
    pub(crate) attached: Mutex<Option<Arc<Identity>>>,
    /// The clock of the server last seen; records are still judged by it when the connection is gone.
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

/// The server's milliseconds at a moment of ours.
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

/// Owns the task; aborts it when dropped.
#[derive(Debug)]
struct Supervisor(JoinHandle<()>);

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Link {
    pub(crate) fn new(
        client: Client,
        settings: Settings,
        keys: Keys,
        bus: Arc<Bus>,
        journal: Journal,
    ) -> Self {
        Self {
            shared: Arc::new(Shared {
                current: Current::new(settings.breaker_threshold),
                client,
                moved: Mutex::default(),
                trouble: Trouble::default(),
                settings,
                keys,
                scripts: Scripts::new(),
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
            }),
            supervisor: Mutex::new(None),
        }
    }

    pub(crate) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Starts the supervisor and waits for its first attempt.
    pub(crate) async fn start(&self) -> Result<(), Error> {
        let (first, mut attempted) = watch::channel(None);
        let task = tokio::spawn(supervise(Arc::clone(&self.shared), first));
        *self.lock_supervisor() = Some(Supervisor(task));
        match attempted.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                "connect to Redis: the runtime is going down",
            )),
        }
    }

    /// Sends what is queued, and ends.
    ///
    /// As long as portions of it get through, each within the time limit, it goes on, for
    /// [`LONGEST_SHUTDOWN`] in all.
    ///
    /// # Errors
    /// What is queued is lost with this process.
    pub(crate) async fn shutdown(&self) -> Result<(), Error> {
        if let Some((connected, generation)) = self.shared.current.get() {
            let rest = async {
                let returned = self.shared.leases.take_returned();
                let limit = self.shared.settings.time_limit;
                let given_back = self.shared.give_back(&connected, &returned);
                let _ = timeout(limit, given_back).await;
                let left = self.shared.drain_by(&connected, generation, limit).await;
                // Replies come in order: after this one, no request of a call is cut off.
                let mut data = connected.data.clone();
                let _ = timeout(limit, redis::cmd("PING").exec_async(&mut data)).await;
                left
            };
            if !matches!(timeout(LONGEST_SHUTDOWN, rest).await, Ok(Ok(0))) {
                tracing::debug!("not all could be sent before the end");
            }
            self.shared.lose(generation);
        }
        let written = self.shared.journal.is_written();
        let written = timeout(self.shared.settings.time_limit, written).await;
        let queued = self.shared.journal.len();
        let file = self.shared.settings.journal_file.as_ref();
        self.close();
        match (queued, file, written) {
            (0, _, _) => Ok(()),
            (_, Some(file), Ok(true)) => {
                tracing::info!(queued, file = %file.display(), "invalidations are in the journal's file, for the next process to send");
                Ok(())
            }
            (_, file, _) => {
                let why = match file {
                    Some(_) => "the journal's file could not be written in time",
                    None => "no journal's file keeps them",
                };
                tracing::warn!(
                    queued,
                    why,
                    "invalidations could not be sent to Redis before the end, and are lost"
                );
                Err(Error::new(
                    ErrorKind::Unavailable,
                    format!(
                        "tell Redis before the end what was invalidated: {queued} are left, and {why}"
                    ),
                ))
            }
        }
    }

    /// Ends, and sends nothing.
    pub(crate) fn close(&self) {
        *self.lock_supervisor() = None;
        // The supervisor may be between two awaits, where it is not aborted yet.
        self.shared.current.close();
        self.shared.drivers.close();
        self.shared.journal.close();
        self.shared.isolate();
        self.shared.bus.waiters.wake_all();
    }

    fn lock_supervisor(&self) -> MutexGuard<'_, Option<Supervisor>> {
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shared {
    pub(crate) fn breaker(&self) -> &Breaker {
        &self.current.breaker
    }

    /// Whether it was shut down.
    pub(crate) fn is_closed(&self) -> bool {
        self.current.is_closed()
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.current.get().is_some()
    }

    /// Milliseconds by the server's clock; by this host's until a server was seen.
    pub(crate) fn now(&self) -> u64 {
        let clock = *self.clock.read().unwrap_or_else(PoisonError::into_inner);
        clock.map_or_else(unix_millis, |ServerClock { millis, at }| {
            let since = u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX);
            millis.saturating_add(since)
        })
    }

    /// Notes what the server's clock says now. All instances judge records by that clock, so each has
    /// to follow it when it is set.
    pub(crate) fn set_clock(&self, millis: u64) {
        let at = Instant::now();
        let clock = ServerClock { millis, at };
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = Some(clock);
    }

    /// The address that users gave, without what is secret.
    pub(crate) fn address(&self) -> String {
        self.client.get_connection_info().addr().to_string()
    }

    /// Where to connect to.
    pub(crate) fn client(&self) -> Client {
        let moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        moved.as_ref().unwrap_or(&self.client).clone()
    }

    /// Follows a node of a cluster to the one that has the namespace, or goes back to the first address after any other error;
    /// `true` when there is another to be tried at once.
    pub(crate) fn follow(&self, error: &Error) -> bool {
        let followed = server::moved_client(&self.client(), error);
        let mut moved = self.moved.lock().unwrap_or_else(PoisonError::into_inner);
        let is_first = moved.is_none();
        *moved = followed;
        is_first && moved.is_some()
    }

    /// Runs one operation on the link that is there; it is told the link's number.
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
            return Err(self.trouble.unavailable(what));
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

    /// Gives up the link of that number and closes its connections. A later link is kept. A link that
    /// is not in place yet is given up as well: its reader may see its end before that.
    pub(crate) fn lose(&self, generation: u64) {
        self.dead.fetch_max(generation, Ordering::SeqCst);
        self.bus.close(generation);
        if self.current.lose(generation, || self.isolate()) {
            self.bus.waiters.wake_all();
        }
        self.drivers.end(generation);
        self.lost.notify_one();
    }

    /// From now on it is not known what others invalidate. Done while no other link can come: what begins with that one must not
    /// end with this.
    fn isolate(&self) {
        self.counters.isolations.fetch_add(1, Ordering::Relaxed);
        self.bus.coherence.revoke();
        self.bus.epochs.begin(None);
        self.leases.begin(u64::MAX);
        self.guards.begin(u64::MAX);
    }
}

/// Never zero: Redis refuses that, and a record without a life would stay for ever.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// A token, an epoch or a history, never zero: 63 bits, so that it has at most 19 digits. Random, never counted: one that was
/// evicted must not come back.
pub(crate) fn fresh_number() -> u64 {
    (fastrand::u64(..) >> 1) | 1
}
