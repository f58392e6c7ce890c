//! The task that connects to a store, keeps the connection, and connects again when it is lost.

use std::fmt;
use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::lock::lock;
use super::session::Session;
use super::task::AbortOnDrop;
use crate::error::{Error, ErrorKind};

/// The steps of a [`Supervisor`] that depend on the store. The supervisor owns the value, so state
/// that belongs to one connection (its background tasks) can be kept in fields.
pub trait Connector: Send + 'static {
    /// A connection, as the [session](Self::session) holds it.
    type Connection: Clone + Send + Sync + 'static;

    /// Returns the session that the connections are for.
    fn session(&self) -> &Session<Self::Connection>;

    /// Returns the name of the store, for logs and errors: `Redis`.
    fn store(&self) -> &'static str;

    /// Returns the address that is tried next, without secrets, for logs.
    fn address(&self) -> String;

    /// Makes a connection that can be used: calls may use it as soon as this has returned. The
    /// attempt has a time limit of its own. `number` is the number that the connection has in the
    /// session.
    ///
    /// # Errors
    /// The store cannot be used now.
    fn connect(
        &mut self,
        number: u64,
    ) -> impl Future<Output = Result<Self::Connection, Error>> + Send;

    /// Keeps the current connection: renews, sends what is queued, and checks that the store
    /// responds. Ends when the connection [is lost](Session::is_lost), also because the session
    /// was closed, or cannot be trusted any more. [`Session::lost`] wakes it in both cases.
    fn keep(
        &mut self,
        connection: &Self::Connection,
        number: u64,
    ) -> impl Future<Output = ()> + Send;

    /// Gives up the connection with this number, by [`Session::lose`], with all state that belongs
    /// to it. It may be lost already.
    fn lose(&self, number: u64);

    /// Notes that an attempt to connect failed: until the next one succeeds it is unknown what
    /// other instances invalidate. Returns when to try again.
    fn connect_failed(&mut self, error: &Error) -> Retry;
}

/// When to connect again after a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_enums,
    reason = "the supervisor handles each of them, and there is no third moment"
)]
pub enum Retry {
    /// At once, without a pause and without reporting the failure: the store said where to connect.
    AtOnce,
    /// After the pause of the [`Backoff`].
    AfterPause,
}

/// Owns the task that keeps a tier connected, and aborts it when dropped.
#[derive(Debug, Default)]
pub struct Supervisor {
    task: Mutex<Option<AbortOnDrop<()>>>,
}

impl Supervisor {
    /// Starts the task in the current Tokio runtime, and waits for its first attempt to connect.
    /// Call it once for a session: the numbers of its connections begin at 1.
    ///
    /// # Errors
    /// The first attempt failed. The task continues to try, unless it is [aborted](Self::abort).
    ///
    /// # Cancel safety
    /// Cancel safe: the task continues.
    pub async fn start(&self, connector: impl Connector) -> Result<(), Error> {
        let store = connector.store();
        let (first, mut attempted) = watch::channel(None);
        let task = tokio::spawn(supervise(connector, first));
        *lock(&self.task) = Some(AbortOnDrop::new(task));
        match attempted.wait_for(Option::is_some).await {
            Ok(result) => result.clone().unwrap_or(Ok(())),
            Err(_) => Err(Error::new(
                ErrorKind::Unavailable,
                format!("the runtime ended before {store} was connected"),
            )),
        }
    }

    /// Aborts the task. It ends at its next `.await`, so close the [`Session`] as well: the task
    /// may put a connection in place before. A closed session alone ends the task when its attempt
    /// to connect, its pause or [`keep`](Connector::keep) has ended.
    pub fn abort(&self) {
        let task = lock(&self.task).take();
        drop(task);
    }

    /// Aborts the task, and waits for its end.
    ///
    /// # Cancel safety
    /// Cancel safe: the task is aborted before the wait.
    pub async fn end(&self) {
        let task = lock(&self.task).take();
        if let Some(task) = task {
            task.stop().await;
        }
    }
}

/// Logs an outage once: the first failure as a warning, later ones for debugging only, and the end.
pub struct Outage {
    store: &'static str,
    is_reported: bool,
}

impl fmt::Debug for Outage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outage")
            .field("store", &self.store)
            .field("is_reported", &self.is_reported)
            .finish()
    }
}

impl Outage {
    /// Creates a log for a store with this name. There is no outage yet.
    #[must_use]
    pub fn new(store: &'static str) -> Self {
        Self {
            store,
            is_reported: false,
        }
    }

    /// Notes that an attempt to use the store failed.
    pub fn failed(&mut self, address: &str, error: &Error) {
        let store = self.store;
        if std::mem::replace(&mut self.is_reported, true) {
            tracing::debug!(address, error = ?error, "{store} still cannot be used");
        } else {
            tracing::warn!(
                address,
                error = ?error,
                "{store} cannot be used; calls continue without it until it can"
            );
        }
    }

    /// Notes that the store can be used.
    pub fn ended(&mut self, address: &str) {
        if std::mem::take(&mut self.is_reported) {
            let store = self.store;
            tracing::info!(address, "{store} can be used again");
        }
    }
}

/// Returns the time after which a connection is given up if a request that no call waits for has no
/// reply, for a tier with this staleness bound and time limit.
#[must_use]
pub fn silence(staleness_bound: Duration, time_limit: Duration) -> Duration {
    staleness_bound.max(time_limit) * 2
}

/// Connects, keeps the connection until it is lost, and connects again, until it is aborted or the
/// session is closed. `first` receives the result of the first attempt.
async fn supervise(mut connector: impl Connector, first: watch::Sender<Option<Result<(), Error>>>) {
    let mut backoff = Backoff::default();
    let mut outage = Outage::new(connector.store());
    let mut number = 0;
    while !connector.session().is_closed() {
        number += 1;
        connector.session().connecting();
        let connection = match connector.connect(number).await {
            Ok(connection) => connection,
            Err(error) => {
                if connector.connect_failed(&error) == Retry::AtOnce {
                    continue;
                }
                outage.failed(&connector.address(), &error);
                connector.session().connect_failed(error.clone());
                if first.borrow().is_none() {
                    first.send_replace(Some(Err(error)));
                }
                sleep(backoff.after_failure()).await;
                continue;
            }
        };
        if !connector.session().connected(connection.clone(), number) {
            return;
        }
        outage.ended(&connector.address());
        first.send_replace(Some(Ok(())));
        let since = Instant::now();
        connector.keep(&connection, number).await;
        connector.lose(number);
        if connector.session().is_closed() {
            // Not logged as a loss.
            return;
        }
        let store = connector.store();
        tracing::info!(lasted = ?since.elapsed(), "connection to {store} lost; connecting again");
        sleep(backoff.after_loss(since.elapsed())).await;
    }
}

#[cfg(test)]
mod tests;
