//! Makes a link, keeps it while it lives, and is asked for the next one when it is lost.
//!
//! The loop itself is in [`Supervisor`](cache_core::tier::kit::Supervisor).

use std::sync::Arc;

use async_memcached::Client;
use cache_core::tier::kit::{Connector, Retry, Session, timed};
use cache_core::{Error, ErrorKind};
use tokio::task::JoinSet;

use crate::commands::Command;
use crate::commands::identify::{Identify, Reply};
use crate::connections::Connections;
use crate::error::{STORE, failed};
use crate::session::{Link, MemcachedSession};

/// Makes and keeps the links of a session.
pub(crate) struct MemcachedConnector {
    session: Arc<MemcachedSession>,
    /// The tasks of the connections of the link. They are aborted when this is dropped.
    workers: JoinSet<()>,
    /// The process of the server that the last link led to.
    process: Option<u64>,
    /// The number of the last message of the log that was applied when the link was made.
    last_message: u64,
}

impl MemcachedConnector {
    pub(crate) fn new(session: Arc<MemcachedSession>) -> Self {
        Self {
            session,
            workers: JoinSet::new(),
            process: None,
            last_message: 0,
        }
    }

    /// Notes which process a link leads to. Another one has lost the data of the one before.
    fn found_process(&mut self, process: u64) {
        if self
            .process
            .replace(process)
            .is_some_and(|last| last != process)
        {
            self.session.counters.history_changed();
        }
    }

    /// Makes a new link usable: sends the pending invalidations, places the guards again, and
    /// proves that all invalidations are applied.
    async fn catch_up(&mut self, link: &Link) -> Result<(), Error> {
        let session = &self.session;
        // Everything is invalidated here, because it is unknown what was invalidated without a
        // link. Later invalidations are in the log after this message.
        let last = session.read_log(link, None).await?;
        session.flush(link).await?;
        session.renew_guards(link).await?;
        self.last_message = session.read_log(link, Some(last)).await?;
        Ok(())
    }
}

impl Connector for MemcachedConnector {
    type Connection = Link;

    fn session(&self) -> &Session<Link> {
        &self.session.link
    }

    fn store(&self) -> &'static str {
        STORE
    }

    fn address(&self) -> String {
        self.session.config.redacted_url()
    }

    async fn connect(&mut self, number: u64) -> Result<Link, Error> {
        let limit = self.session.config.connect_limit;
        let opened = timed("connect", STORE, limit, open(&self.session)).await;
        let (clients, process) = opened??;
        self.workers = JoinSet::new();
        let silence = self.session.silence();
        let connections = Connections::new(clients, silence, &mut self.workers);
        let link = Link {
            number,
            connections: Arc::new(connections),
        };
        self.found_process(process);
        self.session.leases.connected(number);
        self.session.guards.connected(number);
        self.catch_up(&link).await?;
        Ok(link)
    }

    async fn keep(&mut self, link: &Link, _: u64) {
        tokio::select! {
            () = self.session.keep(link, self.last_message) => {}
            // A connection is lost.
            _ = self.workers.join_next() => {}
        }
        // Commands in progress end with the link.
        self.workers.abort_all();
    }

    fn lose(&self, number: u64) {
        self.session.lose(number);
    }

    fn connect_failed(&mut self, _: &Error) -> Retry {
        self.workers.abort_all();
        self.session.forget();
        Retry::AfterPause
    }
}

/// Opens the connections of a link, and returns them with the number of the process that all of
/// them lead to.
async fn open(session: &MemcachedSession) -> Result<(Vec<Client>, u64), Error> {
    let address = session.config.address().unwrap_or_default();
    let mut clients = Vec::new();
    let mut processes = Vec::new();
    for _ in 0..session.config.connections {
        let client = Client::new(&address).await;
        let mut client = client.map_err(|error| failed("connect", error))?;
        processes.push(identify(&mut client, session).await?);
        clients.push(client);
    }
    let process = processes.first().copied().unwrap_or_default();
    if processes.iter().any(|other| *other != process) {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "connections to the address of memcached lead to different servers, each of which would have a log of invalidations of its own",
        )
        .with_help("give the address of one server"));
    }
    Ok((clients, process))
}

async fn identify(client: &mut Client, session: &MemcachedSession) -> Result<u64, Error> {
    let keys = session.keys.clone();
    match (Identify { keys }).run(client).await {
        Ok(Reply::Process(process)) => Ok(process),
        Ok(Reply::WithoutCas) => Err(Error::new(
            ErrorKind::Protocol,
            "memcached was started with `-C`: without CAS numbers there are no leases",
        )),
        Err(error) => Err(match failed(Identify::NAME, error) {
            error if error.kind() == ErrorKind::Protocol => Error::with_source(
                ErrorKind::Protocol,
                "the server does not speak the protocol of memcached 1.6",
                error,
            ),
            error => error,
        }),
    }
}
