//! Makes a link: connects, checks the server, and attaches to its history.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use cache_core::tier::kit::timed;
use cache_core::{Error, ErrorKind};
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, ConnectionInfo, PushInfo};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::batches::Batches;
use crate::bus::Reader;
use crate::commands;
use crate::commands::attach::{Attach, Attached, Reply};
use crate::epochs::Mark;
use crate::errors::{self, failed};
use crate::locator::Entrance;
use crate::mistakes;
use crate::number::fresh_number;
use crate::server::{self, Greeting, Identity};
use crate::session::{Link, RedisSession};
use crate::transport;

/// The action of an attachment, for errors.
const ATTACH: &str = "attach to the server's history";

impl RedisSession {
    /// Opens a connection of the link with that number. Its driver ends with the link at the
    /// latest.
    pub(crate) async fn open(
        &self,
        number: u64,
        entrance: &Entrance,
        reader: Option<Arc<Reader>>,
    ) -> Result<(MultiplexedConnection, AbortHandle), Error> {
        // Each operation has its own time limit.
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None);
        if let Some(reader) = reader {
            config = config.set_push_sender(move |push: PushInfo| -> Result<(), SendError> {
                reader.push(&push);
                Ok(())
            });
        }
        let connecting = transport::connect(&entrance.info, self.locator.root(), config);
        let (connection, driver) = timeout(self.settings.connect_limit, connecting)
            .await
            .unwrap_or_else(|_| Err(errors::no_reply()))
            .map_err(|error| mistakes::not_connected(&entrance.info, error))?;
        let driver = self.drivers.drive(number, driver).ok_or_else(lost_early)?;
        Ok((connection, driver))
    }

    /// Opens and subscribes the connection for messages.
    async fn open_channel(
        &self,
        number: u64,
        entrance: &Entrance,
        reader: Arc<Reader>,
    ) -> Result<(MultiplexedConnection, Greeting), Error> {
        let (mut channel, _) = self.open(number, entrance, Some(reader)).await?;
        let greeting = self.greet(&mut channel).await?;
        redis::cmd("SSUBSCRIBE")
            .arg(self.keys.channel())
            .exec_async(&mut channel)
            .await
            .map_err(|error| failed("subscribe to the channel of invalidations", error))?;
        Ok((channel, greeting))
    }

    /// Opens the connection for records, and sends the scripts over it.
    async fn open_data(
        &self,
        number: u64,
        entrance: &Entrance,
    ) -> Result<(MultiplexedConnection, Greeting), Error> {
        let (mut data, _) = self.open(number, entrance, None).await?;
        let greeting = self.greet(&mut data).await?;
        commands::load(&mut data)
            .await
            .map_err(|error| failed("send the scripts", error))?;
        self.check_permissions(&mut data).await?;
        Ok((data, greeting))
    }

    /// Asks the server for its identity, and whether it can be used.
    pub(crate) async fn greet(
        &self,
        connection: &mut MultiplexedConnection,
    ) -> Result<Greeting, Error> {
        let key = self.keys.heartbeat();
        let found = self.locator.found();
        let greeting = server::greet(connection, &key, self.layout.shards())
            .await
            .map_err(|error| match found {
                Some(found) => mistakes::of_greeting(&found.info, error),
                None => error,
            })?;
        if greeting.is_alone {
            self.locator.check_server_alone()?;
        }
        Ok(greeting)
    }

    /// Makes a link: subscribed, fenced, attached. Queued invalidations are not sent yet.
    pub(crate) async fn connect(
        self: &Arc<Self>,
        number: u64,
        entrance: &Entrance,
    ) -> Result<Link, Error> {
        let limit = self.settings.connect_limit;
        let connecting = async {
            let link = self.subscribe(number, entrance).await?;
            let asked = self.bus.epochs.mark();
            let reply = self.try_to_attach(&link, false).await?;
            Ok::<_, Error>((link, asked, reply))
        };
        // A connection by TLS that is not answered takes as long as this limit, which may end
        // first.
        let infos = std::slice::from_ref(&entrance.info);
        let (link, asked, mut reply) = timed("connect", "Redis", limit, connecting)
            .await
            .map_err(|error| mistakes::with_tls_help(error, infos))??;
        if reply == Reply::NoHistory {
            // It has a limit of its own.
            self.layout.first_tried(self.shard).await;
            let beginning = self.begin_history(&link, &entrance.info);
            reply = timed("begin a history", "Redis", limit, beginning).await??;
        }
        match reply {
            Reply::Attached(attached) => {
                self.layout.tried(self.shard);
                self.layout.found_no_other(self.shard)?;
                self.attached(&link, attached, asked)?;
                Ok(link)
            }
            Reply::OtherLayout(shards) => Err(self.layout.conflicts(self.shard, shards)),
            Reply::NoHistory => Err(failed(ATTACH, errors::no_reply())),
        }
    }

    /// Opens the connections of a link, and fences what was missed before they were subscribed.
    async fn subscribe(self: &Arc<Self>, number: u64, entrance: &Entrance) -> Result<Link, Error> {
        let lost = Arc::downgrade(self);
        self.bus.open(number);
        self.drivers.open(number);
        let reader = Reader::new(&self.bus, number, move || {
            if let Some(session) = lost.upgrade() {
                session.lose(number);
            }
        });
        let ((channel, greeting), (data, other)) = tokio::try_join!(
            self.open_channel(number, entrance, reader),
            self.open_data(number, entrance)
        )
        .map_err(|error| self.with_user(error))?;
        if other.identity != greeting.identity {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "two connections to the address led to two servers",
            ));
        }
        self.set_clock(greeting.millis);
        let (batches, sending) = Batches::new(data.clone(), Arc::clone(&self.keys));
        self.drivers.drive(number, sending).ok_or_else(lost_early)?;
        let link = Link {
            number,
            data,
            batches,
            channel,
            identity: Arc::new(greeting.identity),
        };
        self.note_eviction(greeting.evicts_at_random);
        // Invalidations before the subscription may have been missed, so everything is fenced.
        // Later ones are received.
        self.bus.fence_all(None);
        self.leases.connected(number);
        self.guards.connected(number);
        Ok(link)
    }

    /// Takes over what the attachment says of the history.
    fn attached(&self, link: &Link, attached: Attached, asked: Mark) -> Result<(), Error> {
        let Attached {
            history,
            last,
            is_new,
        } = attached;
        if !self.bus.attached(link.number, &link.identity, last) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "a message is missing after the attachment to the server's history",
            ));
        }
        self.bus.epochs.adopt(history, asked);
        if is_new {
            tracing::info!(
                target: "multi_tier_cached::redis",
                shard = self.shard_in_log(),
                address = self.tried(),
                "the server begins a new history: its older records are not used"
            );
        }
        if self.is_another(&link.identity) || is_new {
            self.counters.history_changed();
            let queued = self.journal.recall();
            if queued > 0 {
                tracing::info!(
                    target: "multi_tier_cached::redis",
                    shard = self.shard_in_log(),
                    address = self.tried(),
                    queued,
                    "the server may not know of the last invalidations: sending them again"
                );
            }
        }
        Ok(())
    }

    /// Returns `true` if the server is another one than that of the previous attachment. Each
    /// instance must check this by itself: it may be the last to leave a server that lived on, and
    /// no other instance knows what it sent there.
    fn is_another(&self, identity: &Arc<Identity>) -> bool {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached
            .replace(Arc::clone(identity))
            .is_some_and(|before| before != *identity)
    }

    /// Begins a history, or attaches to one that was begun since.
    async fn begin_history(&self, link: &Link, info: &ConnectionInfo) -> Result<Reply, Error> {
        let may_begin = self.look_for_other_layouts(link, info).await?;
        // Also if none may begin: the other shards may go on.
        self.layout.found_no_other(self.shard)?;
        match may_begin {
            true => self.try_to_attach(link, true).await,
            false => Err(Error::new(
                ErrorKind::Unavailable,
                "no shard of the namespace has a history, and shard 0 must begin the first",
            )),
        }
    }

    async fn try_to_attach(&self, link: &Link, may_begin: bool) -> Result<Reply, Error> {
        // On the channel's connection, so that every message after those that the reply counts
        // arrives here.
        let mut channel = link.channel.clone();
        let attach = Attach {
            identity: &link.identity,
            fresh_history: fresh_number(),
            last_message: self.bus.last_message_of(&link.identity),
            may_begin,
        };
        let reply = commands::send(&mut channel, &self.keys, attach)
            .await
            .map_err(|error| failed(ATTACH, error))?;
        if let Reply::Attached(_) = reply {
            // Not before: in another layout the instance stores nothing.
            self.heartbeat(link)
                .await
                .map_err(|error| failed("write to the server", error))?;
        }
        Ok(reply)
    }

    /// Warns once, for all shards, if the server may evict the keys that the protocol relies on,
    /// however often they are used.
    fn note_eviction(&self, evicts_at_random: bool) {
        if !evicts_at_random {
            return;
        }
        self.evicts_at_random.store(true, Ordering::Relaxed);
        if !self.reported.evicts_at_random.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "multi_tier_cached::redis",
                shard = self.shard_in_log(),
                address = self.tried(),
                "Redis evicts keys at random (`maxmemory-policy`), also those that invalidation relies \
                 on: records are lost with them; help: use `allkeys-lru` or `allkeys-lfu`"
            );
        }
    }
}

fn lost_early() -> Error {
    Error::new(
        ErrorKind::Unavailable,
        "the link to Redis was lost while it was made",
    )
}
