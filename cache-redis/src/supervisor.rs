//! The supervisor: makes the link, keeps it, and makes it again.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use redis::Client;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};

use crate::barrier::Reads;
use crate::bus::Bus;
use crate::config::Settings;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::link::{Connected, Shared};
use crate::maintenance::HEARTBEAT;
use crate::pause::Pause;
use crate::server;

/// The time limit for sending queued invalidations in a shutdown. Orchestrators commonly kill a
/// process 30 s after they asked it to end.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(10);

/// The largest number of barriers without a reply, on a slow channel.
const MOST_BARRIERS: usize = 16;

/// The link and the task that keeps it.
#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<Supervisor>>,
}

/// Owns the task, and aborts it when dropped.
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
            shared: Arc::new(Shared::new(client, settings, keys, bus, journal)),
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
                "the runtime ended before a link to Redis was made",
            )),
        }
    }

    /// Sends the queued invalidations, and ends the link.
    ///
    /// It goes on for [`LONGEST_SHUTDOWN`] in total, as long as each portion is acknowledged within
    /// the time limit.
    ///
    /// # Errors
    /// Queued invalidations are lost with this process.
    pub(crate) async fn shutdown(&self) -> Result<(), Error> {
        if let Some((connected, generation)) = self.shared.current.get() {
            let rest = async {
                let returned = self.shared.leases.take_returned();
                let limit = self.shared.settings.time_limit;
                let given_back = self.shared.give_back(&connected, &returned);
                let _ = timeout(limit, given_back).await;
                let left = self.shared.drain_by(&connected, generation, limit).await;
                // Replies arrive in order: after this one, no request of a call is pending.
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
                        "{queued} invalidations were not sent to Redis before the end, and {why}"
                    ),
                ))
            }
        }
    }

    /// Ends the link without sending anything.
    pub(crate) fn close(&self) {
        *self.lock_supervisor() = None;
        // The supervisor is aborted at its next await only, and may put a link in place before.
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
    /// Makes a new link usable: sends the queued invalidations and proves the channel.
    ///
    /// It may take longer than the time limit of a connection, because many may be queued.
    async fn catch_up(&self, connected: &Connected, generation: u64) -> Result<(), Error> {
        self.drain(connected, generation).await?;
        // A guard that is not placed in time is placed with the next renewal: the link is not given
        // up for it.
        let _ = timeout(self.silence(), self.keep_guards(connected, generation)).await;
        let proved = self.prove(connected, generation, Reads::WithoutEpochs);
        timeout(self.silence(), proved)
            .await
            .unwrap_or_else(|_| Err(server::no_answer()))
            .map_err(|error| server::failed("prove that the channel works", error))
    }

    /// Keeps a link by barriers, heartbeats and renewals, and sends what is queued. Ends when the
    /// link is lost.
    async fn keep(self: &Arc<Self>, connected: &Connected, generation: u64) {
        let every = |period: Duration| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let mut barriers = every(self.settings.staleness_bound / 4);
        let mut heartbeats = every(HEARTBEAT);
        let mut renewals = every(self.settings.lease_time / 3);
        // More often than they expire, so that an evicted guard is placed again soon.
        let mut guards = every(HEARTBEAT.min(self.settings.lease_time / 3));
        let mut epochs_read = Instant::now();
        // Aborted with this future.
        let mut work = JoinSet::new();
        let mut under_way = 0;
        let mut is_draining = false;
        while self.dead.load(Ordering::SeqCst) < generation {
            tokio::select! {
                () = self.lost.notified() => {}
                _ = barriers.tick() => {
                    if under_way < MOST_BARRIERS {
                        under_way += 1;
                        let (shared, connected) = (Arc::clone(self), connected.clone());
                        // The server's LRU clock counts seconds, so reading them more often does
                        // not keep them longer.
                        let reads = match epochs_read.elapsed() < HEARTBEAT {
                            true => Reads::WithoutEpochs,
                            false => Reads::WithEpochs,
                        };
                        if reads == Reads::WithEpochs {
                            epochs_read = Instant::now();
                        }
                        work.spawn(job(async move {
                            let proved = shared.prove(&connected, generation, reads);
                            let proved = timeout(shared.silence(), proved).await;
                            (Work::Barrier, matches!(proved, Ok(Ok(()))))
                        }));
                    }
                }
                _ = heartbeats.tick() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(job(async move {
                        let written = timeout(shared.silence(), shared.heartbeat(&connected)).await;
                        (Work::Heartbeat, matches!(written, Ok(Ok(()))))
                    }));
                }
                _ = renewals.tick() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(job(async move {
                        // A lease that is not renewed expires, and its fill is refused.
                        let _ = timeout(shared.silence(), shared.renew(&connected)).await;
                        (Work::Other, true)
                    }));
                }
                _ = guards.tick() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(job(async move {
                        let _ = timeout(shared.silence(), shared.keep_guards(&connected, generation)).await;
                        (Work::Other, true)
                    }));
                }
                returned = self.leases.returned() => {
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(job(async move {
                        let _ = timeout(shared.silence(), shared.give_back(&connected, &returned)).await;
                        (Work::Other, true)
                    }));
                }
                ended = self.guards.ended(), if !is_draining => {
                    is_draining = true;
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(job(async move {
                        shared.end_guards(&connected, generation, &ended).await;
                        (Work::Drain, true)
                    }));
                }
                () = self.journal.has_queued(), if !is_draining => {
                    is_draining = true;
                    let (shared, connected) = (Arc::clone(self), connected.clone());
                    work.spawn(job(async move {
                        if !matches!(shared.drain(&connected, generation).await, Ok(0)) {
                            sleep(shared.settings.time_limit.min(HEARTBEAT)).await;
                            shared.journal.ring();
                        }
                        (Work::Drain, true)
                    }));
                }
                Some(done) = work.join_next() => {
                    let Ok((kind, held)) = done else { return };
                    match kind {
                        Work::Barrier => under_way -= 1,
                        Work::Drain => is_draining = false,
                        _ => {}
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

/// A kind of background work for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Barrier,
    Heartbeat,
    Drain,
    /// Leases and guards are renewed or released. What fails expires by itself.
    Other,
}

/// A piece of background work. It has one type for all kinds, because each type of task is compiled
/// separately.
type Job = Pin<Box<dyn Future<Output = (Work, bool)> + Send>>;

fn job(work: impl Future<Output = (Work, bool)> + Send + 'static) -> Job {
    Box::pin(work)
}

/// Connects, keeps the link until it is lost, and connects again, until it is aborted.
async fn supervise(shared: Arc<Shared>, first: watch::Sender<Option<Result<(), Error>>>) {
    let mut pause = Pause::new();
    let mut outage = false;
    loop {
        shared.current.breaker.half_open();
        let limit = shared.settings.connect_limit;
        let attempt = timeout(limit, shared.connect()).await.unwrap_or_else(|_| {
            Err(Error::new(
                ErrorKind::TimedOut,
                format!("no connection to Redis within {} ms", limit.as_millis()),
            ))
        });
        let attempt = match attempt {
            Ok((connected, generation)) => shared
                .catch_up(&connected, generation)
                .await
                .map(|()| (connected, generation)),
            Err(error) => Err(error),
        };
        match attempt {
            Ok((connected, generation)) => {
                if !shared.current.put(connected.clone(), generation) {
                    return;
                }
                if outage {
                    tracing::info!(address = %shared.client().get_connection_info().addr(), "Redis is back");
                }
                outage = false;
                shared.last_error.note(None);
                first.send_replace(Some(Ok(())));
                let since = Instant::now();
                shared.keep(&connected, generation).await;
                shared.lose(generation);
                if shared.is_closed() {
                    return;
                }
                tracing::info!(lasted = ?since.elapsed(), "the link to Redis is over; making another");
                sleep(pause.after_loss(since.elapsed())).await;
            }
            Err(error) if shared.follow(&error) => {
                tracing::debug!(address = %shared.client().get_connection_info().addr(), "the namespace is on another node");
            }
            Err(error) => {
                shared.current.breaker.open();
                shared.bus.coherence.revoke();
                if outage {
                    tracing::debug!(error = ?error, "Redis is still away");
                } else {
                    tracing::warn!(
                        address = %shared.client().get_connection_info().addr(),
                        error = ?error,
                        "Redis cannot be used; going on without it until it can"
                    );
                }
                outage = true;
                shared.last_error.note(Some(error.clone()));
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
