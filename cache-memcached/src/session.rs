//! The session with the server, as calls use it.
//!
//! A link is a few connections to one process of the server, which are made together and lost
//! together. Calls use the current link or continue without one; they never wait for a link. Only
//! the [`supervisor`](crate::supervisor) makes links.

use std::sync::Arc;
use std::time::Duration;

use async_memcached::Error as ClientError;
use cache_core::tier::kit::{
    HeldGuards, HeldLeases, LinkCounters, OwnedTarget, PendingInvalidations, Session, silence,
    timed,
};
use cache_core::tier::{Peers, RecordKey, Target};
use cache_core::{Coherence, Error};
use tokio::sync::{Notify, oneshot};

use crate::commands::Command;
use crate::commands::granted::GrantedLease;
use crate::commands::invalidate::Invalidate;
use crate::commands::log::Effect;
use crate::commands::publish::PublishTags;
use crate::config::Memcached;
use crate::connections::{Caller, Connections};
use crate::error::STORE;
use crate::keys::Keys;

/// The state that calls and the supervisor share.
#[derive(Debug)]
pub(crate) struct MemcachedSession {
    pub(crate) config: Memcached,
    pub(crate) keys: Keys,
    pub(crate) peers: Peers,
    pub(crate) coherence: Arc<Coherence>,
    pub(crate) link: Session<Link>,
    pub(crate) pending: PendingInvalidations,
    /// Notified when an invalidation is pending that no connection accepted.
    pub(crate) unsent: Notify,
    pub(crate) leases: Arc<HeldLeases<GrantedLease>>,
    pub(crate) guards: Arc<HeldGuards<RecordKey>>,
    pub(crate) counters: LinkCounters,
}

/// Where the result of an invalidation that is being sent will be.
pub(crate) type Sent = oneshot::Receiver<Result<(), ClientError>>;

/// The connections to one process of the server. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    /// The number of the link, larger than that of every earlier one.
    pub(crate) number: u64,
    pub(crate) connections: Arc<Connections>,
}

impl MemcachedSession {
    pub(crate) fn new(config: Memcached, peers: Peers) -> Self {
        Self {
            keys: Keys::new(&config.namespace),
            coherence: Arc::new(Coherence::new(config.staleness_bound)),
            config,
            counters: LinkCounters::noting(&peers),
            peers,
            // A command that times out ends its connection, and with it the link, so the breaker
            // need not count timeouts.
            link: Session::new(u32::MAX),
            pending: PendingInvalidations::default(),
            unsent: Notify::new(),
            leases: Arc::default(),
            guards: Arc::default(),
        }
    }

    /// Returns the time after which a link is lost if a command has no reply.
    pub(crate) fn silence(&self) -> Duration {
        silence(self.config.staleness_bound, self.config.time_limit)
    }

    /// Returns the current link, for an operation that `what` names.
    pub(crate) fn require_link(&self, what: &str) -> Result<Link, Error> {
        let problem = || {
            let address = self.config.redacted_url();
            format!("{what}: memcached at {address} is not connected")
        };
        self.link.require(problem).map(|(link, _)| link)
    }

    /// Runs a command on the current link within a time limit.
    pub(crate) async fn run<C: Command>(
        &self,
        command: C,
        within: Duration,
    ) -> Result<C::Reply, Error> {
        let link = self.require_link(C::NAME)?;
        timed(C::NAME, STORE, within, link.connections.send(command)).await?
    }

    /// Gives up the link with this number. Until there is another, it is unknown what other
    /// instances invalidate.
    pub(crate) fn lose(&self, number: u64) {
        if self.link.lose(number, || self.forget()) {
            self.counters.isolated();
        }
    }

    /// Accepts no link from now on.
    pub(crate) fn close(&self) {
        self.link.close();
        self.forget();
        self.pending.close();
    }

    /// Forgets what is known over a link only.
    pub(crate) fn forget(&self) {
        self.coherence.revoke();
        self.leases.disconnected();
        self.guards.disconnected();
    }

    /// Invalidates without a result.
    pub(crate) fn invalidate_later(self: &Arc<Self>, target: Target<'_>) {
        let number = self.pending.add(target);
        if let Some((link, _)) = self.link.current() {
            drop(self.send_invalidation(&link, target, Effect::Invalidated, number));
        }
    }

    /// Invalidates tags without a result.
    pub(crate) fn invalidate_tags_later(self: &Arc<Self>, tags: &[u64]) {
        let number = self.pending.add_tags(tags);
        if let Some((link, _)) = self.link.current() {
            drop(self.send_tags(&link, tags, Effect::Invalidated, number));
        }
    }

    /// Starts to send a pending invalidation, which was added under this number. If the link is
    /// lost before the reply, the invalidation is sent over the next link. If no connection accepts
    /// the command, it is sent with the next flush; `None` is returned then. An expiry that is sent
    /// again is an invalidation.
    pub(crate) fn send_invalidation(
        self: &Arc<Self>,
        link: &Link,
        target: Target<'_>,
        effect: Effect,
        number: u64,
    ) -> Option<Sent> {
        let target = OwnedTarget::of(target);
        let command = Invalidate {
            keys: self.keys.clone(),
            target: target.clone(),
            effect,
        };
        let done = move |session: &Self, caller| session.invalidated(&target, number, caller);
        self.start(link, command, done)
    }

    /// Starts to send a pending invalidation of tags, as
    /// [`send_invalidation`](Self::send_invalidation) does.
    pub(crate) fn send_tags(
        self: &Arc<Self>,
        link: &Link,
        tags: &[u64],
        effect: Effect,
        number: u64,
    ) -> Option<Sent> {
        let tags = tags.to_vec();
        let command = PublishTags {
            keys: self.keys.clone(),
            tags: tags.clone(),
            effect,
        };
        // The server has no record with tags, so a call that was dropped has left nothing in the
        // tiers above.
        let done = move |session: &Self, _| {
            drop(session.pending.tags_done(&tags, number));
            // If so many tags were pending that all tags took their place, a flush sends these.
            if session.pending.covers_tags(&tags) {
                session.unsent.notify_one();
            }
        };
        self.start(link, command, done)
    }

    fn start<C: Command<Reply = ()>>(
        self: &Arc<Self>,
        link: &Link,
        command: C,
        done: impl FnOnce(&Self, Caller) + Send + 'static,
    ) -> Option<Sent> {
        let (session, link_number) = (Arc::clone(self), link.number);
        let sent = link.connections.start(command, move |reply, caller| {
            match &reply {
                Ok(()) => done(&session, caller),
                // Half of it may be done, and the rest must not wait for long.
                Err(_) => session.lose(link_number),
            }
            reply
        });
        if sent.is_none() {
            self.unsent.notify_one();
        }
        sent
    }

    fn invalidated(&self, target: &OwnedTarget, number: u64, caller: Caller) {
        // If the call has not waited, it has already invalidated the tiers above, and they may
        // since have copied up the record that was deleted only now.
        if caller == Caller::Dropped {
            self.peers.done_late(target.borrow());
        }
        self.pending.done(target.borrow(), number);
    }
}
