//! How a link is made.

use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use redis::aio::{MultiplexedConnection, SendError};
use redis::{AsyncConnectionConfig, PushInfo, RedisError};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use crate::bus::Reader;
use crate::commands;
use crate::commands::attach::{Attach, Attached};
use crate::drivers::OwnDriver;
use crate::link::{Connected, Shared};
use crate::number::{fresh_number, millis};
use crate::server::{self, Greeting, Identity, failed};
use crate::transport;

impl Shared {
    /// Opens a connection of the link with that number. Its driver ends with the link at the
    /// latest.
    async fn open(
        &self,
        generation: u64,
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
        let client = self.client();
        let root = self.settings.root_certificate.as_ref();
        let connecting = transport::connect(client.get_connection_info(), root, config);
        let (connection, driver) = timeout(self.settings.connect_limit, connecting)
            .await
            .unwrap_or_else(|_| Err(server::no_answer()))
            .map_err(server::not_connected)?;
        let driver = self.drivers.drive(generation, driver).ok_or_else(|| {
            Error::new(
                ErrorKind::Unavailable,
                "the link to Redis was lost while it was made",
            )
        })?;
        Ok((connection, driver))
    }

    /// Opens and subscribes the connection for messages.
    async fn open_channel(
        &self,
        generation: u64,
        reader: Arc<Reader>,
    ) -> Result<(MultiplexedConnection, Greeting), Error> {
        let (mut channel, _) = self.open(generation, Some(reader)).await?;
        let greeting = server::greet(&mut channel, &self.keys.heartbeat()).await?;
        redis::cmd("SSUBSCRIBE")
            .arg(self.keys.channel())
            .exec_async(&mut channel)
            .await
            .map_err(|error| failed("subscribe to the channel of invalidations", error))?;
        Ok((channel, greeting))
    }

    /// Opens the connection for records, and sends the scripts over it.
    async fn open_data(&self, generation: u64) -> Result<(MultiplexedConnection, Greeting), Error> {
        let (mut data, _) = self.open(generation, None).await?;
        let greeting = server::greet(&mut data, &self.keys.heartbeat()).await?;
        commands::load(&mut data)
            .await
            .map_err(|error| failed("send the scripts", error))?;
        self.check_permissions(&mut data).await?;
        Ok((data, greeting))
    }

    /// Makes a link: subscribed, fenced, attached. Queued invalidations are not sent yet.
    pub(crate) async fn connect(self: &Arc<Self>) -> Result<(Connected, u64), Error> {
        let generation = self.generations.fetch_add(1, Ordering::Relaxed) + 1;
        let lost = Arc::downgrade(self);
        self.bus.open(generation);
        self.drivers.open(generation);
        let reader = Reader::new(&self.bus, generation, move || {
            if let Some(shared) = lost.upgrade() {
                shared.lose(generation);
            }
        });
        let ((channel, greeting), (data, other)) = tokio::try_join!(
            self.open_channel(generation, reader),
            self.open_data(generation)
        )
        .map_err(|error| self.with_user(error))?;
        if other.identity != greeting.identity {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "two connections to the address led to two servers",
            ));
        }
        self.set_clock(greeting.millis);
        let connected = Connected {
            data,
            channel,
            identity: Arc::new(greeting.identity),
        };
        self.note_eviction(greeting.evicts_at_random);
        self.heartbeat(&connected)
            .await
            .map_err(|error| failed("write to the server", error))?;
        // Invalidations before the subscription may have been missed, so everything is fenced.
        // Later ones are received.
        self.bus.fence_all(None);
        self.leases.begin(generation);
        self.guards.begin(generation);
        let asked = self.bus.epochs.mark();
        let Attached {
            history,
            last,
            is_new,
        } = self
            .attach(&connected)
            .await
            .map_err(|error| failed("attach to the server's history", error))?;
        if !self.bus.attached(generation, &connected.identity, last) {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "a message is missing after the attachment to the server's history",
            ));
        }
        self.bus.epochs.adopt(history, asked);
        if is_new {
            tracing::info!("the server begins a new history: its older records are not used");
        }
        if self.is_another(&connected.identity) || is_new {
            self.counters
                .history_changes
                .fetch_add(1, Ordering::Relaxed);
            let queued = self.journal.recall();
            if queued > 0 {
                tracing::info!(
                    queued,
                    "the server may not know of the last invalidations: sending them again"
                );
            }
        }
        Ok((connected, generation))
    }

    /// Returns how many replicas have acknowledged everything that the server has now. It stops
    /// waiting at `replicas`, or after `within`.
    pub(crate) async fn known_to_replicas(
        &self,
        linked: &Connected,
        generation: u64,
        replicas: u32,
        within: Duration,
    ) -> Result<u32, Error> {
        let ask = async {
            let (mut own, driver) = self.open(generation, None).await?;
            let _driver = OwnDriver(driver);
            let greeting = server::greet(&mut own, &self.keys.heartbeat()).await?;
            if greeting.identity != *linked.identity {
                // The identity also changes when the first replica of the same server attaches.
                self.lose(generation);
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the server was replaced during the wait for replicas",
                ));
            }
            // WAIT counts replicas that have the last write of its own connection, and replicas
            // apply writes in order.
            self.heartbeat_on(&mut own)
                .await
                .map_err(|error| failed("write to the server", error))?;
            redis::cmd("WAIT")
                .arg(replicas)
                .arg(millis(within))
                .query_async(&mut own)
                .await
                .map_err(|error| failed("wait for replicas", error))
        };
        // The server keeps the time limit. This one is for a server that does not respond.
        timeout(self.settings.connect_limit + within, ask)
            .await
            .unwrap_or_else(|_| Err(failed("wait for replicas", server::no_answer())))
    }

    /// Whether the server is another than that of the previous attachment. Each instance must check
    /// this by itself: it may be the last to leave a server that lived on, and no other instance
    /// knows what it sent there.
    fn is_another(&self, identity: &Arc<Identity>) -> bool {
        let mut attached = self.attached.lock().unwrap_or_else(PoisonError::into_inner);
        attached
            .replace(Arc::clone(identity))
            .is_some_and(|before| before != *identity)
    }

    async fn attach(&self, connected: &Connected) -> Result<Attached, RedisError> {
        // On the channel's connection, so that the messages after those that the reply counts are heard.
        let mut channel = connected.channel.clone();
        let attach = Attach {
            identity: &connected.identity,
            fresh_history: fresh_number(),
            last_heard: self.bus.last_heard_from(&connected.identity),
        };
        commands::send(&mut channel, &self.keys, attach).await
    }

    /// Warns once if the server may evict the keys that the protocol relies on, however often they
    /// are used.
    fn note_eviction(&self, evicts_at_random: bool) {
        if evicts_at_random && !self.evicts_at_random.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "Redis evicts keys at random (`maxmemory-policy`), also those that invalidation relies \
                 on: records are lost with them; help: use `allkeys-lru` or `allkeys-lfu`"
            );
        }
    }
}
