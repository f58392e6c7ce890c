//! The session with the server, as calls use it.
//!
//! A link is two connections to one server: one for the records, and one for the channel and its
//! barrier, which a large record must not delay. They are made together and lost together. Neither
//! reconnects by itself: a lease or the state of the channel must not outlive its connection
//! unnoticed.
//!
//! Calls use the current link or continue without one; they never wait for a link. Only the
//! [`supervisor`](crate::supervisor) makes links. [`RedisSession::replicas_with_last_write`] opens
//! a connection of its own beside the link, because `WAIT` blocks the connection that sends it.

use std::collections::HashSet;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use cache_core::tier::Shard;
use cache_core::tier::kit::{
    HeldGuards, HeldLeases, LinkCounters, ReportedFailures, Session, timed, timed_out,
};
use cache_core::{Error, ErrorKind, unix_millis};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::time::{Instant, timeout};

use crate::batches::Batches;
use crate::bus::Bus;
use crate::commands::guard::GuardedKey;
use crate::config::Settings;
use crate::drivers::Drivers;
use crate::errors;
use crate::journal::Journal;
use crate::keys::Keys;
use crate::layout::Layout;
use crate::leases::RedisLease;
use crate::locator::Locator;
use crate::permissions::Permissions;
use crate::renewal::Renewal;
use crate::server::Identity;
use crate::sizes::RecordSizes;

/// The state that calls and the supervisor share.
#[derive(Debug)]
pub(crate) struct RedisSession {
    pub(crate) locator: Locator,
    /// The part of the namespace that this session is of.
    pub(crate) shard: Shard,
    /// The layout, which all shards of the instance share.
    pub(crate) layout: Arc<Layout>,
    pub(crate) renewal: Renewal,
    /// The number of this instance, which the tokens of its leases carry.
    pub(crate) owner: u32,
    pub(crate) settings: Settings,
    pub(crate) keys: Arc<Keys>,
    pub(crate) sizes: RecordSizes,
    pub(crate) bus: Arc<Bus>,
    pub(crate) link: Session<Link>,
    pub(crate) drivers: Drivers,
    pub(crate) leases: Arc<HeldLeases<RedisLease>>,
    pub(crate) guards: Arc<HeldGuards<GuardedKey>>,
    pub(crate) permissions: Permissions,
    pub(crate) reported: Arc<Reported>,
    pub(crate) journal: Journal,
    pub(crate) counters: Arc<LinkCounters>,
    /// The server of the last attachment. A server that takes its place may not know what was sent
    /// to it.
    pub(crate) attached: Mutex<Option<Arc<Identity>>>,
    /// The clock of the last server. Records are judged by it also after the connection was lost.
    clock: RwLock<Option<ServerClock>>,
    /// `true` if a server was seen to evict keys at random. Relaxed: it orders nothing, and is read
    /// for reports only.
    pub(crate) evicts_at_random: AtomicBool,
}

/// The contents of the log that the shards of one instance share, so that each is written once.
#[derive(Debug, Default)]
pub(crate) struct Reported {
    pub(crate) failures: ReportedFailures,
    /// The features that a shard could not use when it was last asked, each with the reason.
    pub(crate) unusable: Mutex<HashSet<String>>,
    /// `true` if a server was seen to evict keys at random. Relaxed: it orders nothing.
    pub(crate) evicts_at_random: AtomicBool,
    /// `true` if the last renewal of credentials failed. Relaxed: it orders nothing.
    pub(crate) renewal_fails: AtomicBool,
}

/// The two connections of a link, and the server they lead to.
#[derive(Clone)]
pub(crate) struct Link {
    /// The number of the link, larger than that of every earlier one.
    pub(crate) number: u64,
    pub(crate) data: MultiplexedConnection,
    /// Sends operations of several calls together, over `data`.
    pub(crate) batches: Batches,
    pub(crate) channel: MultiplexedConnection,
    pub(crate) identity: Arc<Identity>,
}

/// The server's time at a moment of the local monotonic clock.
#[derive(Clone, Copy, Debug)]
struct ServerClock {
    millis: u64,
    at: Instant,
}

impl std::fmt::Debug for Link {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Link")
            .field("number", &self.number)
            .field("identity", &self.identity)
            .finish_non_exhaustive()
    }
}

impl RedisSession {
    pub(crate) fn new(
        locator: Locator,
        (shard, layout, reported, owner): (Shard, Arc<Layout>, Arc<Reported>, u32),
        settings: Settings,
        keys: Keys,
        bus: Arc<Bus>,
        journal: Journal,
    ) -> Self {
        Self {
            link: Session::new(settings.breaker_threshold),
            locator,
            shard,
            layout,
            renewal: Renewal::default(),
            owner,
            settings,
            keys: Arc::new(keys),
            sizes: RecordSizes::default(),
            counters: Arc::clone(&bus.counters),
            bus,
            drivers: Drivers::default(),
            leases: Arc::default(),
            guards: Arc::default(),
            permissions: Permissions::default(),
            reported,
            journal,
            attached: Mutex::default(),
            clock: RwLock::new(None),
            evicts_at_random: AtomicBool::new(false),
        }
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
        self.locator.configured()
    }

    /// The index of the shard, for logs. `None` if there is one.
    pub(crate) fn shard_in_log(&self) -> Option<u8> {
        (!self.shard.is_only()).then(|| self.shard.index())
    }

    /// The address of the server that was tried last. `None` before the first attempt, and while it
    /// is not known which server of several to try.
    pub(crate) fn tried(&self) -> Option<String> {
        let found = self.locator.found()?;
        Some(found.info.addr().to_string())
    }

    /// The current link, for an operation that is not part of a call.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn require_link(&self) -> Result<Link, Error> {
        self.link
            .current()
            .map(|(link, _)| link)
            .ok_or_else(not_ready)
    }

    /// The current link and its number, for an operation that `what` names.
    fn link_for(&self, what: &str) -> Result<(Link, u64), Error> {
        self.link.require(|| {
            let address = self.tried().unwrap_or_else(|| self.address());
            format!("{what}: Redis at {address} is not connected")
        })
    }

    /// Runs one operation of an operator on the current link. The result counts neither for nor
    /// against the link: a look at a key must not change how calls are answered.
    pub(crate) async fn inspecting<T, F>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(Link) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let (link, _) = self.link_for(what)?;
        let result = timed(what, "Redis", within, operation(link)).await?;
        result.map_err(|error| Error::with_source(errors::kind_of(&error), what, error))
    }

    /// Runs one operation on the current link.
    pub(crate) async fn run<T, F>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(Link) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let (link, number) = self.link_for(what)?;
        match timeout(within, operation(link)).await {
            Ok(Ok(value)) => {
                self.link.succeeded(number);
                Ok(value)
            }
            Ok(Err(error)) => {
                if errors::is_fatal(&error) {
                    self.lose(number);
                }
                self.permissions.doubt();
                Err(Error::with_source(errors::kind_of(&error), what, error))
            }
            Err(_) => {
                if self.link.timed_out(number) {
                    self.counters.breaker_opened();
                    tracing::warn!(
                        target: "multi_tier_cached::redis",
                        shard = self.shard_in_log(),
                        address = self.tried(),
                        "Redis does not respond in time; calls continue without it until it does"
                    );
                    self.lose(number);
                }
                Err(timed_out(what, "Redis", within))
            }
        }
    }

    /// Gives up the link with that number and closes its connections. A later link is kept. A link
    /// that is not in place yet is given up as well, because its reader may see its end before
    /// that.
    pub(crate) fn lose(&self, number: u64) {
        self.bus.close(number);
        if self.link.lose(number, || self.isolate()) {
            self.bus.waiters.wake_all();
        }
        self.drivers.end(number);
    }

    /// Ends the session without sending anything: the link is lost, and no other is accepted.
    pub(crate) fn close(&self) {
        self.leave();
        self.journal.close();
    }

    /// Gives up the link, and accepts no other. The journal is written on.
    pub(crate) fn leave(&self) {
        self.link.close();
        self.drivers.close();
        self.isolate();
        self.bus.waiters.wake_all();
    }

    /// Notes that invalidations of other instances are no longer received. This runs while no other
    /// link can be put in place, so that it does not end the state of a later link.
    fn isolate(&self) {
        self.counters.isolated();
        self.bus.coherence.revoke();
        self.bus.epochs.begin(None);
        self.leases.disconnected();
        self.guards.disconnected();
    }
}

/// The error of an operation that needs a link with a history.
pub(crate) fn not_ready() -> Error {
    Error::new(ErrorKind::Unavailable, "the link to Redis is not ready")
}
