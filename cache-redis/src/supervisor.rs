//! Makes the link, keeps it while it lives, and is asked for the next one when it is lost.
//!
//! The loop itself is in [`Supervisor`](cache_core::tier::kit::Supervisor).

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::{Connector, Outage, Retry, ReturnedLease, Session};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::barrier::Reads;
use crate::commands::guard::GuardedKey;
use crate::errors;
use crate::leases::RedisLease;
use crate::locator::CHECK;
use crate::maintenance::HEARTBEAT;
use crate::session::{Link, RedisSession};

/// The largest number of barriers without a reply, on a slow channel.
const MOST_BARRIERS: usize = 16;

/// Makes and keeps the links of a session.
pub(crate) struct RedisConnector {
    session: Arc<RedisSession>,
    /// The last attempt was not made, because of what another shard found.
    waits_for_another: bool,
}

impl RedisConnector {
    pub(crate) fn new(session: Arc<RedisSession>) -> Self {
        Self {
            session,
            waits_for_another: false,
        }
    }
}

impl Connector for RedisConnector {
    type Connection = Link;

    fn session(&self) -> &Session<Link> {
        &self.session.link
    }

    fn store(&self) -> &'static str {
        "Redis"
    }

    fn address(&self) -> String {
        self.session.locator.address()
    }

    async fn connect(&mut self, number: u64) -> Result<Link, Error> {
        let session = &self.session;
        let admitted = session.layout.admit(session.shard);
        self.waits_for_another = admitted.is_err();
        admitted?;
        let (_, entrance) = session.locator.find().await?;
        session.renewal.begin(entrance.life);
        let link = session.connect(number, &entrance).await?;
        session.catch_up(&link).await?;
        // With credentials that are new, so the next renewal that fails is another failure.
        session
            .reported
            .renewal_fails
            .store(false, Ordering::Relaxed);
        Ok(link)
    }

    async fn keep(&mut self, link: &Link, _: u64) {
        self.session.keep(link).await;
    }

    fn lose(&self, number: u64) {
        self.session.lose(number);
    }

    fn connect_failed(&mut self, error: &Error) -> Retry {
        if self.session.locator.follow(error) {
            let address = self.address();
            tracing::debug!(
                target: "multi_tier_cached::redis",
                shard = self.session.shard_in_log(),
                address,
                "the namespace is on another node; connecting to it"
            );
            return Retry::AtOnce;
        }
        self.session.layout.tried(self.session.shard);
        self.session.bus.coherence.revoke();
        Retry::AfterPause
    }

    fn outage(&self) -> Outage {
        Outage::of_shard("Redis", self.session.shard, &self.session.reported.failures)
    }

    fn waits_for_another(&self) -> bool {
        self.waits_for_another
    }
}

impl RedisSession {
    /// Makes a new link usable: sends the queued invalidations and proves the channel.
    ///
    /// It may take longer than the time limit of a connection, because many may be queued.
    async fn catch_up(&self, link: &Link) -> Result<(), Error> {
        self.flush(link).await?;
        // A guard that is not placed in time is placed with the next renewal: the link is not given
        // up for it.
        let _ = timeout(self.silence(), self.renew_guards(link)).await;
        self.follow_ledger(link).await?;
        let proved = self.prove(link, Reads::WithoutEpochs);
        timeout(self.silence(), proved)
            .await
            .unwrap_or_else(|_| Err(errors::no_reply()))
            .map_err(|error| errors::failed("prove that the channel works", error))
    }

    /// Loads the ledger before the link is used, so that hits on marked records need not ask for
    /// it. If the server refuses for now, they do, and it is loaded later.
    async fn follow_ledger(&self, link: &Link) -> Result<(), Error> {
        match self.load_ledger(link).await {
            Ok(true) => {}
            Err(error) if errors::is_fatal(&error) => {
                return Err(errors::failed("load the ledger of tags", error));
            }
            Ok(false) | Err(_) => self.bus.mirror.want(),
        }
        Ok(())
    }

    /// Keeps a link by barriers, heartbeats and renewals, and sends what is queued. Ends when the
    /// link is lost or cannot be trusted any more.
    async fn keep(self: &Arc<Self>, link: &Link) {
        let mut timers = Timers::new(self);
        let mut work = Work::new(Arc::clone(self), link.clone());
        while !self.link.is_lost(link.number) {
            tokio::select! {
                // First, so that no link is used after another layout was found.
                biased;
                () = self.layout.conflict() => {
                    // The shard that found it reports it.
                    tracing::debug!(
                        target: "multi_tier_cached::redis",
                        shard = self.shard_in_log(),
                        "the namespace has another number of shards; its servers are not used"
                    );
                    return;
                }
                () = self.link.lost() => {}
                () = self.renewal.is_due(), if !work.is_authenticating => work.authenticate(),
                _ = timers.primaries.tick(), if self.locator.has_sentinels() => work.check_primary(),
                _ = timers.barriers.tick() => work.prove(),
                _ = timers.heartbeats.tick() => work.heartbeat(),
                _ = timers.leases.tick() => work.renew_leases(),
                _ = timers.guards.tick() => work.renew_guards(),
                returned = self.leases.returned() => work.release(returned),
                ended = self.guards.ended(), if !work.is_flushing => work.end_guards(ended),
                () = self.journal.has_queued(), if !work.is_flushing => work.flush(),
                () = self.bus.mirror.wanted(), if !work.is_loading => work.load_ledger(),
                Some(done) = work.tasks.join_next() => {
                    if !work.ended(done) {
                        return;
                    }
                }
            }
        }
    }
}

/// The periods of the background work for a link.
struct Timers {
    barriers: Interval,
    heartbeats: Interval,
    leases: Interval,
    guards: Interval,
    primaries: Interval,
}

impl Timers {
    fn new(session: &RedisSession) -> Self {
        let every = |period: Duration| {
            let mut ticks = interval(period);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            ticks
        };
        let lease_time = session.settings.lease_time;
        Self {
            barriers: every(session.settings.staleness_bound / 4),
            heartbeats: every(HEARTBEAT),
            leases: every(lease_time / 3),
            // More often than guards expire, so that an evicted guard is placed again soon.
            guards: every(HEARTBEAT.min(lease_time / 3)),
            primaries: every(CHECK),
        }
    }
}

/// A kind of background work for a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Barrier,
    Heartbeat,
    Flush,
    /// The connections are authenticated again.
    Credentials,
    /// The ledger is loaded.
    Ledger,
    /// A sentinel is asked whether the server still is the primary.
    Primary,
    /// Leases and guards are renewed or released. What fails expires by itself.
    Other,
}

/// Background work for a link that is in progress. Its tasks are aborted when it is dropped.
struct Work {
    session: Arc<RedisSession>,
    link: Link,
    /// The kind of each task, and whether the link can still be trusted after it.
    tasks: JoinSet<(Kind, bool)>,
    barriers: usize,
    /// `true` while queued invalidations are being sent. Guards are ended by the same task, so that
    /// the two are not sent out of order.
    is_flushing: bool,
    is_authenticating: bool,
    is_loading: bool,
    epochs_read: Instant,
}

/// A task of [`Work`]. It has one type for all kinds, because each type of task is compiled
/// separately.
type Task = Pin<Box<dyn Future<Output = (Kind, bool)> + Send>>;

impl Work {
    fn new(session: Arc<RedisSession>, link: Link) -> Self {
        Self {
            session,
            link,
            tasks: JoinSet::new(),
            barriers: 0,
            is_flushing: false,
            is_authenticating: false,
            is_loading: false,
            epochs_read: Instant::now(),
        }
    }

    fn spawn<F>(&mut self, kind: Kind, work: impl FnOnce(Arc<RedisSession>, Link) -> F)
    where
        F: Future<Output = bool> + Send + 'static,
    {
        let work = work(Arc::clone(&self.session), self.link.clone());
        let task: Task = Box::pin(async move { (kind, work.await) });
        self.tasks.spawn(task);
    }

    fn prove(&mut self) {
        if self.barriers == MOST_BARRIERS {
            return;
        }
        self.barriers += 1;
        // The server's LRU clock counts seconds, so reading the epochs more often does not keep
        // them longer.
        let reads = match self.epochs_read.elapsed() < HEARTBEAT {
            true => Reads::WithoutEpochs,
            false => Reads::WithEpochs,
        };
        if reads == Reads::WithEpochs {
            self.epochs_read = Instant::now();
        }
        self.spawn(Kind::Barrier, async move |session, link| {
            let proved = timeout(session.silence(), session.prove(&link, reads)).await;
            matches!(proved, Ok(Ok(())))
        });
    }

    fn heartbeat(&mut self) {
        self.spawn(Kind::Heartbeat, async move |session, link| {
            let written = timeout(session.silence(), session.heartbeat(&link)).await;
            matches!(written, Ok(Ok(())))
        });
    }

    fn renew_leases(&mut self) {
        self.spawn(Kind::Other, async move |session, link| {
            // A lease that is not renewed expires, and its fill is refused.
            let _ = timeout(session.silence(), session.renew_leases(&link)).await;
            true
        });
    }

    fn renew_guards(&mut self) {
        self.spawn(Kind::Other, async move |session, link| {
            let _ = timeout(session.silence(), session.renew_guards(&link)).await;
            true
        });
    }

    fn release(&mut self, returned: Vec<ReturnedLease<RedisLease>>) {
        self.spawn(Kind::Other, async move |session, link| {
            let _ = timeout(session.silence(), session.release_leases(&link, &returned)).await;
            true
        });
    }

    fn end_guards(&mut self, ended: Vec<(u64, GuardedKey)>) {
        self.is_flushing = true;
        self.spawn(Kind::Flush, async move |session, link| {
            session.end_guards(&link, &ended).await;
            true
        });
    }

    fn flush(&mut self) {
        self.is_flushing = true;
        self.spawn(Kind::Flush, async move |session, link| {
            if !matches!(session.flush(&link).await, Ok(0)) {
                sleep(session.settings.time_limit.min(HEARTBEAT)).await;
                session.journal.retry();
            }
            true
        });
    }

    fn load_ledger(&mut self) {
        self.is_loading = true;
        self.spawn(Kind::Ledger, async move |session, link| {
            let loaded = session.load_ledger(&link).await;
            if !matches!(loaded, Ok(true)) {
                sleep(session.settings.time_limit.min(HEARTBEAT)).await;
                session.bus.mirror.want();
            }
            !matches!(loaded, Err(error) if errors::is_fatal(&error))
        });
    }

    fn authenticate(&mut self) {
        self.is_authenticating = true;
        self.spawn(Kind::Credentials, async move |session, link| {
            session.authenticate(&link).await
        });
    }

    fn check_primary(&mut self) {
        self.spawn(Kind::Primary, async move |session, _| {
            match session.locator.found() {
                Some(found) => !session.locator.is_replaced(&found).await,
                None => true,
            }
        });
    }

    /// Notes the end of a task. Returns `false` if the link must be given up.
    fn ended(&mut self, done: Result<(Kind, bool), JoinError>) -> bool {
        // A task that panicked.
        let Ok((kind, is_trusted)) = done else {
            return false;
        };
        match kind {
            Kind::Barrier => self.barriers -= 1,
            Kind::Flush => self.is_flushing = false,
            Kind::Credentials => self.is_authenticating = false,
            Kind::Ledger => self.is_loading = false,
            Kind::Heartbeat | Kind::Primary | Kind::Other => {}
        }
        if !is_trusted {
            tracing::warn!(
                target: "multi_tier_cached::redis",
                shard = self.session.shard_in_log(),
                address = self.session.tried(),
                ?kind,
                "the link to Redis cannot be trusted any more; making another"
            );
        }
        is_trusted
    }
}
