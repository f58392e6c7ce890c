//! The link to the server, and the supervisor that makes it and makes it again.
//!
//! A link is two connections to one server: one for the records, and one for the channel and its barrier, which a large record
//! must not hold up. They are made together and lost together. Neither mends itself behind the link: what was agreed on it (a
//! lease, what is known of the channel) must not outlive it unseen.
//!
//! Calls take the link that is there or go on without; they never wait for one. The supervisor is the only one who connects.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cache_core::tier::Target;
use cache_core::{Error, ErrorKind, unix_millis};
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, Client, PushInfo, RedisError};
use tokio::sync::{Notify, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::breaker::Breaker;
use crate::bus::{Bus, Reader};
use crate::config::Settings;
use crate::current::Current;
use crate::journal::{Invalidated, Journal, Queued};
use crate::keys::Keys;
use crate::leases::{HeldLease, Leases};
use crate::pause::Pause;
use crate::script::Scripts;
use crate::server::{self, Identity};

/// How often a write is tried: a primary that nobody follows any more may still answer reads.
const HEARTBEAT: Duration = Duration::from_secs(1);

/// Queued invalidations that are sent before it is noted that they were.
const PORTION: usize = 256;

/// Barriers that may be under way at once, on a channel that is slow.
const MOST_BARRIERS: usize = 16;

#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<Supervisor>>,
}

/// What calls and the supervisor share.
#[derive(Debug)]
pub(crate) struct Shared {
    client: Client,
    settings: Settings,
    pub(crate) keys: Keys,
    pub(crate) scripts: Scripts,
    pub(crate) bus: Arc<Bus>,
    pub(crate) leases: Arc<Leases>,
    pub(crate) journal: Journal,
    current: Current<Connected>,
    generations: AtomicU64,
    /// The number of the last link that was lost.
    dead: AtomicU64,
    /// The server last attached to: what was sent to another may not be known to the one that took its place.
    attached: Mutex<Option<Arc<Identity>>>,
    /// The clock of the server last seen; records are still judged by it when the connection is gone.
    clock: RwLock<Option<ServerClock>>,
    lost: Notify,
    pub(crate) counters: Counters,
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
    channel: MultiplexedConnection,
    pub(crate) identity: Arc<Identity>,
}

/// The server's milliseconds at a moment of ours.
#[derive(Clone, Copy, Debug)]
struct ServerClock {
    millis: u64,
    at: Instant,
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
    pub(crate) fn new(client: Client, settings: Settings, keys: Keys, bus: Arc<Bus>) -> Self {
        Self {
            shared: Arc::new(Shared {
                current: Current::new(settings.breaker_threshold),
                client,
                settings,
                keys,
                scripts: Scripts::new(),
                bus,
                leases: Arc::default(),
                journal: Journal::default(),
                generations: AtomicU64::new(0),
                dead: AtomicU64::new(0),
                attached: Mutex::default(),
                clock: RwLock::new(None),
                lost: Notify::new(),
                counters: Counters::default(),
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

    /// Sends what is to be sent, as far as that goes, and ends.
    pub(crate) async fn shutdown(&self) {
        if let Some((connected, generation)) = self.shared.current.get() {
            let rest = async {
                let returned = self.shared.leases.take_returned();
                self.shared.give_back(&connected, returned).await;
                self.shared.drain(&connected).await
            };
            if !matches!(
                timeout(self.shared.settings.time_limit, rest).await,
                Ok(Ok(()))
            ) {
                tracing::warn!(
                    queued = self.shared.journal.len(),
                    "invalidations could not be sent before the end"
                );
            }
            self.shared.lose(generation);
        }
        self.close();
    }

    /// Ends, and sends nothing.
    pub(crate) fn close(&self) {
        *self.lock_supervisor() = None;
        // The supervisor may be between two awaits, where it is not aborted yet.
        self.shared.current.close();
        self.shared.isolate();
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
            millis + u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
        })
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
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: Redis is not connected"),
            ));
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

    /// Gives up the link of that number; a later one is none of the caller's business. One that is not there yet is given up
    /// as well: its reader may see its end before it is put in place.
    pub(crate) fn lose(&self, generation: u64) {
        self.dead.fetch_max(generation, Ordering::SeqCst);
        if self.current.lose(generation) {
            self.isolate();
        }
        self.lost.notify_one();
    }

    /// From now on it is not known what others invalidate.
    fn isolate(&self) {
        self.counters.isolations.fetch_add(1, Ordering::Relaxed);
        self.bus.coherence.revoke();
        self.bus.epochs.begin(None);
        self.leases.begin(u64::MAX);
        self.bus.waiters.wake_all();
    }

    /// Sends one invalidation. The number of the new history, where it began one.
    pub(crate) async fn send(
        &self,
        connected: &Connected,
        what: &Invalidated,
    ) -> Result<Option<u64>, RedisError> {
        let (keys, scripts) = (&self.keys, &self.scripts);
        let mut data = connected.data.clone();
        let fresh = fresh_number();
        let (script, names, arguments, history) = what.with_target(|target| match target {
            Target::Key(key) => (
                &scripts.invalidate_key,
                vec![keys.record(key), keys.lease(key)],
                vec![key.digest.to_string()],
                None,
            ),
            Target::Function(function) => (
                &scripts.invalidate_function,
                vec![keys.epoch(function)],
                vec![fresh.to_string(), function.digest.to_string()],
                None,
            ),
            _ => (
                &scripts.invalidate_all,
                vec![keys.history()],
                vec![fresh.to_string(), connected.identity.to_string()],
                Some(fresh),
            ),
        });
        let mut invocation = script.prepare_invoke();
        for name in names {
            invocation.key(name);
        }
        invocation.key(keys.sequence()).key(keys.channel());
        for argument in arguments {
            invocation.arg(argument);
        }
        let _: i64 = invocation.invoke_async(&mut data).await?;
        Ok(history)
    }

    /// Sends all that is queued, in portions: what was sent is not sent again where the rest did not get through.
    async fn drain(&self, connected: &Connected) -> Result<(), RedisError> {
        let mut queued = self.journal.queued();
        if !queued.is_empty() {
            tracing::info!(
                number = queued.len(),
                "sending invalidations that had waited"
            );
        }
        while !queued.is_empty() {
            let rest = queued.split_off(queued.len().min(PORTION));
            for Queued { what, .. } in &queued {
                let history = self.send(connected, what).await?;
                if history.is_some() {
                    self.bus.epochs.begin(history);
                }
                self.counters.replays.fetch_add(1, Ordering::Relaxed);
            }
            self.journal.sent(queued);
            queued = rest;
        }
        Ok(())
    }

    async fn give_back(&self, connected: &Connected, returned: Vec<HeldLease>) {
        for lease in returned {
            let mut data = connected.data.clone();
            let mut invocation = self.scripts.release.prepare_invoke();
            invocation
                .key(lease.name)
                .key(self.keys.sequence())
                .key(self.keys.channel())
                .arg(lease.token)
                .arg(lease.digest);
            // One that does not get through is over by itself.
            let _: Result<(), RedisError> = invocation.invoke_async(&mut data).await;
        }
    }

    async fn renew(&self, connected: &Connected) -> Result<(), RedisError> {
        for lease in self.leases.exclusive() {
            let mut data = connected.data.clone();
            let mut invocation = self.scripts.renew.prepare_invoke();
            invocation
                .key(lease.name)
                .arg(lease.token)
                .arg(millis(self.settings.lease_time));
            let _: i64 = invocation.invoke_async(&mut data).await?;
        }
        Ok(())
    }

    /// A write; a server that refuses it is no primary that counts. Unless for want of memory: then it is one all the same.
    async fn heartbeat(&self, connected: &Connected) -> Result<(), RedisError> {
        let mut data = connected.data.clone();
        let written: Result<(), RedisError> = redis::cmd("SET")
            .arg(self.keys.heartbeat())
            .arg(1)
            .arg("PX")
            .arg(millis(HEARTBEAT * 10))
            .query_async(&mut data)
            .await;
        written.or_else(|error| match error.code() {
            Some("OOM") => Ok(()),
            _ => Err(error),
        })
    }

    async fn open(&self, reader: Option<Arc<Reader>>) -> Result<MultiplexedConnection, Error> {
        // The limit is ours: operations have their own.
        let mut config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.settings.connect_limit))
            .set_response_timeout(None);
        if let Some(reader) = reader {
            config = config.set_push_sender(move |push: PushInfo| -> Result<(), SendError> {
                reader.push(&push);
                Ok(())
            });
        }
        self.client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| Error::with_source(server::kind_of(&error), "connect to Redis", error))
    }

    /// Makes a link and brings it to where it can be used: subscribed, fenced, attached, told of what had waited, proved.
    async fn connect(self: &Arc<Self>) -> Result<(Connected, u64), Error> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let failed = |what: &'static str| {
            move |error: RedisError| Error::with_source(server::kind_of(&error), what, error)
        };
        let lost = Arc::downgrade(self);
        let reader = Reader::new(Arc::clone(&self.bus), move || {
            if let Some(shared) = lost.upgrade() {
                shared.lose(generation);
            }
        });
        let mut channel = self.open(Some(Arc::clone(&reader))).await?;
        let greeting = server::greet(&mut channel).await?;
        let clock = ServerClock {
            millis: greeting.millis,
            at: Instant::now(),
        };
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        redis::cmd("SSUBSCRIBE")
            .arg(self.keys.channel())
            .exec_async(&mut channel)
            .await
            .map_err(failed("subscribe to the channel of invalidations"))?;
        let mut data = self.open(None).await?;
        if server::greet(&mut data).await?.identity != greeting.identity {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "use this address: two connections to it led to two servers",
            ));
        }
        self.scripts
            .load(&mut data)
            .await
            .map_err(failed("send the scripts"))?;
        let connected = Connected {
            data,
            channel,
            identity: Arc::new(greeting.identity),
        };
        self.heartbeat(&connected)
            .await
            .map_err(failed("write to the server"))?;
        // What was not heard of until the subscription is over now; what comes after it is heard.
        self.bus.fence_all(None);
        self.leases.begin(generation);
        let (history, last, is_new) = self
            .attach(&connected)
            .await
            .map_err(failed("attach to the server's history"))?;
        if !reader.attached(last) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "attach to the server's history: a message is missing",
            ));
        }
        self.bus.epochs.begin(Some(history));
        if is_new {
            tracing::info!("the server begins a new history: its older records are not used");
        }
        if self.is_another(&connected.identity) || is_new {
            self.counters
                .history_changes
                .fetch_add(1, Ordering::Relaxed);
            let recalled = self.journal.recall();
            tracing::info!(
                recalled,
                "the server may not know of the last invalidations: sending them again"
            );
        }
        self.drain(&connected)
            .await
            .map_err(failed("send invalidations that had waited"))?;
        self.prove(&connected)
            .await
            .map_err(failed("prove that the channel works"))?;
        Ok((connected, generation))
    }

    /// Whether the server is another than the one this instance was attached to before. Each instance must look for itself:
    /// it may be the last to leave a server that lived on, and what it sent there nobody else knows.
    fn is_another(&self, identity: &Arc<Identity>) -> bool {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached
            .replace(Arc::clone(identity))
            .is_some_and(|before| before != *identity)
    }

    async fn attach(&self, connected: &Connected) -> Result<(u64, u64, bool), RedisError> {
        // On the channel's connection: its answer comes behind the messages that it counts.
        let mut channel = connected.channel.clone();
        let mut invocation = self.scripts.attach.prepare_invoke();
        invocation
            .key(self.keys.history())
            .key(self.keys.sequence())
            .key(self.keys.channel())
            .arg(connected.identity.to_string())
            .arg(fresh_number());
        let (history, last, is_new): (u64, String, bool) =
            invocation.invoke_async(&mut channel).await?;
        // No number at all before the first message.
        Ok((history, last.parse().unwrap_or(0), is_new))
    }

    /// A barrier on the channel's connection.
    async fn prove(&self, connected: &Connected) -> Result<(), RedisError> {
        let barrier = self.bus.coherence.barrier();
        let mut channel = connected.channel.clone();
        redis::cmd("PING").exec_async(&mut channel).await?;
        self.bus.coherence.proved(barrier);
        Ok(())
    }

    /// How long a barrier may be under way before the channel is taken for dead.
    fn silence(&self) -> Duration {
        self.settings.staleness_bound.max(self.settings.time_limit) * 2
    }

    /// Keeps a link: barriers, heartbeats, renewals, what is to be sent. Ends when it is lost.
    async fn keep(self: &Arc<Self>, connected: &Connected, generation: u64) {
        let every = |period: Duration| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut barriers = every(self.settings.staleness_bound / 4);
        let mut heartbeats = every(HEARTBEAT);
        let mut renewals = every(self.settings.lease_time / 3);
        // Aborted with this future.
        let mut work = JoinSet::new();
        let mut under_way = 0;
        while self.dead.load(Ordering::SeqCst) < generation {
            tokio::select! {
                () = self.lost.notified() => {}
                _ = barriers.tick() => {
                    if under_way < MOST_BARRIERS {
                        under_way += 1;
                        let (shared, connected) = (Arc::clone(self), connected.clone());
                        work.spawn(async move {
                            let proved = timeout(shared.silence(), shared.prove(&connected)).await;
                            (Work::Barrier, matches!(proved, Ok(Ok(()))))
                        });
                    }
                }
                _ = heartbeats.tick() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(async move {
                        let written = timeout(shared.silence(), shared.heartbeat(&connected)).await;
                        (Work::Heartbeat, matches!(written, Ok(Ok(()))))
                    });
                }
                _ = renewals.tick() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(async move {
                        // What is not renewed is over, and its fill refused.
                        let _ = timeout(shared.silence(), shared.renew(&connected)).await;
                        (Work::Renewal, true)
                    });
                }
                returned = self.leases.returned() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(async move {
                        let _ = timeout(shared.silence(), shared.give_back(&connected, returned)).await;
                        (Work::Renewal, true)
                    });
                }
                () = self.journal.has_queued() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(async move {
                        let sent = timeout(shared.silence(), shared.drain(&connected)).await;
                        if !matches!(sent, Ok(Ok(()))) {
                            sleep(shared.settings.time_limit).await;
                            shared.journal.ring();
                        }
                        (Work::Renewal, true)
                    });
                }
                Some(done) = work.join_next() => {
                    let Ok((kind, held)) = done else { return };
                    if kind == Work::Barrier {
                        under_way -= 1;
                    }
                    if !held {
                        tracing::warn!(?kind, "the link to Redis cannot be trusted any more; making another");
                        return;
                    }
                }
            }
        }
    }
}

/// What is done for a link beside the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Barrier,
    Heartbeat,
    Renewal,
}

/// Connects, keeps the link until it is lost, connects again. Ends when it is aborted.
async fn supervise(shared: Arc<Shared>, first: watch::Sender<Option<Result<(), Error>>>) {
    let mut pause = Pause::new();
    let mut outage = false;
    loop {
        shared.current.breaker.half_open();
        let limit = shared.settings.connect_limit;
        let attempt = timeout(limit, shared.connect()).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::TimedOut,
                format!("connect to Redis within {} ms", limit.as_millis()),
            ))
        });
        match attempt {
            Ok((connected, generation)) => {
                if !shared.current.put(connected.clone(), generation) {
                    return;
                }
                if outage {
                    tracing::info!(address = %shared.client.get_connection_info().addr(), "Redis is back");
                }
                outage = false;
                first.send_replace(Some(Ok(())));
                let since = Instant::now();
                shared.keep(&connected, generation).await;
                shared.lose(generation);
                sleep(pause.after_loss(since.elapsed())).await;
            }
            Err(error) => {
                shared.current.breaker.open();
                shared.bus.coherence.revoke();
                if outage {
                    tracing::debug!(error = ?error, "Redis is still away");
                } else {
                    tracing::warn!(
                        address = %shared.client.get_connection_info().addr(),
                        error = ?error,
                        "Redis cannot be used; going on without it until it can"
                    );
                }
                outage = true;
                first.send_if_modified(|first| {
                    let is_first = first.is_none();
                    first.get_or_insert(Err(error));
                    is_first
                });
                sleep(pause.after_failure()).await;
            }
        }
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
