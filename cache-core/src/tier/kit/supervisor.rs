//! The task that connects to a store, keeps the connection, and connects again when it is lost.

use std::future::Future;
use std::sync::Mutex;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::backoff::Backoff;
use super::lock::lock;
use super::outage::Outage;
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

    /// Returns the log of the outages of these connections.
    fn outage(&self) -> Outage {
        Outage::new(self.store())
    }

    /// Returns `true` if the last attempt to connect was not made because of a failure of another
    /// link of the tier, which reports it.
    fn waits_for_another(&self) -> bool {
        false
    }
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
    let mut outage = connector.outage();
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
                match connector.waits_for_another() {
                    true => outage.waits(&connector.address(), &error),
                    false => outage.failed(&connector.address(), &error),
                }
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
        outage.lost(&connector.address(), since.elapsed());
        sleep(backoff.after_loss(since.elapsed())).await;
    }
}

#[cfg(test)]
mod tests;
