//! The link to the server: one multiplexed connection, and a supervisor that makes it and makes it again.
//!
//! Calls take the connection that is there or go on without; they never wait for one. The supervisor is the only one who
//! connects. It begins again when the link is lost: a broken connection, or the breaker that opens over answers that do
//! not come. A connection never mends itself behind the link: what was agreed on it (a lease) must not outlive it
//! unseen.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use cache_core::{Error, ErrorKind, unix_millis};
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, RedisError};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use crate::breaker::Breaker;
use crate::current::Current;
use crate::pause::Pause;

/// Oldest version that has what the scripts use.
const OLDEST: u32 = 7;

#[derive(Debug)]
pub(crate) struct Link {
    shared: Arc<Shared>,
    supervisor: Mutex<Option<Supervisor>>,
}

#[derive(Debug)]
struct Shared {
    client: Client,
    connect_limit: Duration,
    current: Current<MultiplexedConnection>,
    /// The clock of the server last seen; records are still judged by it when the connection is gone.
    clock: RwLock<Option<ServerClock>>,
    lost: Notify,
}

/// The server's milliseconds at a moment of ours.
#[derive(Clone, Copy, Debug)]
struct ServerClock {
    millis: u64,
    at: Instant,
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
    pub(crate) fn new(client: Client, connect_limit: Duration, threshold: u32) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                connect_limit,
                current: Current::new(threshold),
                clock: RwLock::new(None),
                lost: Notify::new(),
            }),
            supervisor: Mutex::new(None),
        }
    }

    pub(crate) fn breaker(&self) -> &Breaker {
        &self.shared.current.breaker
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

    pub(crate) fn shutdown(&self) {
        *self.lock_supervisor() = None;
        // The supervisor may be between two awaits, where it is not aborted yet.
        self.shared.current.close();
    }

    fn lock_supervisor(&self) -> MutexGuard<'_, Option<Supervisor>> {
        self.supervisor
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Milliseconds by the server's clock; by this host's until a server was seen.
    pub(crate) fn now(&self) -> u64 {
        let clock = *self
            .shared
            .clock
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        clock.map_or_else(unix_millis, |ServerClock { millis, at }| {
            millis + u64::try_from(at.elapsed().as_millis()).unwrap_or(u64::MAX)
        })
    }

    /// Runs one operation on the connection that is there.
    pub(crate) async fn run<T, F>(
        &self,
        what: &'static str,
        within: Duration,
        operation: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, RedisError>>,
    {
        let Some((connection, generation)) = self.shared.current.get() else {
            return Err(Error::new(
                ErrorKind::Unavailable,
                format!("{what}: Redis is not connected"),
            ));
        };
        match timeout(within, operation(connection)).await {
            Ok(Ok(value)) => {
                self.shared.current.answered(generation);
                Ok(value)
            }
            Ok(Err(error)) => {
                if is_fatal(&error) {
                    self.shared.lose(generation);
                }
                Err(Error::with_source(kind_of(&error), what, error))
            }
            Err(_) => {
                if self.shared.current.timed_out(generation) {
                    tracing::warn!(
                        "Redis does not answer in time; going on without it until it does"
                    );
                    self.shared.lose(generation);
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
}

impl Shared {
    /// Gives up the connection of `generation`; a later one is none of the caller's business.
    fn lose(&self, generation: u64) {
        if self.current.lose(generation) {
            self.lost.notify_one();
        }
    }

    async fn connect(&self) -> Result<MultiplexedConnection, Error> {
        // The limit is ours: operations have their own.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_limit))
            .set_response_timeout(None);
        let mut connection = self
            .client
            .get_multiplexed_async_connection_with_config(&config)
            .await
            .map_err(|error| Error::with_source(kind_of(&error), "connect to Redis", error))?;
        let (info, (seconds, micros)): (String, (u64, u64)) = redis::pipe()
            .cmd("INFO")
            .arg("server")
            .arg("replication")
            .arg("persistence")
            .cmd("TIME")
            .query_async(&mut connection)
            .await
            .map_err(|error| Error::with_source(kind_of(&error), "greet the server", error))?;
        check_server(&info)?;
        let clock = ServerClock {
            millis: seconds * 1000 + micros / 1000,
            at: Instant::now(),
        };
        *self.clock.write().unwrap_or_else(PoisonError::into_inner) = Some(clock);
        Ok(connection)
    }
}

/// Connects, waits until the link is lost, connects again. Ends when it is aborted.
async fn supervise(shared: Arc<Shared>, first: watch::Sender<Option<Result<(), Error>>>) {
    let mut pause = Pause::new();
    let mut outage = false;
    loop {
        shared.current.breaker.half_open();
        let attempt = timeout(shared.connect_limit, shared.connect())
            .await
            .unwrap_or_else(|_| {
                Err(Error::new(
                    ErrorKind::TimedOut,
                    format!(
                        "connect to Redis within {} ms",
                        shared.connect_limit.as_millis()
                    ),
                ))
            });
        match attempt {
            Ok(connection) => {
                if !shared.current.put(connection) {
                    return;
                }
                if outage {
                    tracing::info!(address = %shared.client.get_connection_info().addr(), "Redis is back");
                }
                outage = false;
                first.send_replace(Some(Ok(())));
                let since = Instant::now();
                shared.lost.notified().await;
                sleep(pause.after_loss(since.elapsed())).await;
            }
            Err(error) => {
                shared.current.breaker.open();
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

fn check_server(info: &str) -> Result<(), Error> {
    let field = |name: &str| {
        info.lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let Some(version) = field("redis_version") else {
        return Err(Error::new(
            ErrorKind::Protocol,
            "use this server: it does not say that it is Redis or Valkey",
        ));
    };
    let major: Option<u32> = version
        .split('.')
        .next()
        .and_then(|major| major.parse().ok());
    if major.is_some_and(|major| major < OLDEST) {
        return Err(Error::new(
            ErrorKind::Protocol,
            format!("use Redis {version}: the oldest that will do is {OLDEST}.0"),
        ));
    }
    if field("role").is_some_and(|role| role != "master") {
        return Err(Error::new(
            ErrorKind::Protocol,
            "use this server: it is a replica",
        ));
    }
    if field("loading").is_some_and(|loading| loading != "0") {
        return Err(Error::new(
            ErrorKind::Unavailable,
            "use this server: it is still loading",
        ));
    }
    Ok(())
}

/// Whether a connection that gave this error is of no further use: it is broken, or leads to a server that cannot serve
/// (a replica since a failover, one that is still loading).
fn is_fatal(error: &RedisError) -> bool {
    error.is_connection_dropped()
        || error.is_io_error()
        || error.is_unrecoverable_error()
        || matches!(error.code(), Some("READONLY" | "LOADING" | "MASTERDOWN"))
}

fn kind_of(error: &RedisError) -> ErrorKind {
    if error.is_timeout() {
        ErrorKind::TimedOut
    } else if error.is_io_error() || error.is_connection_dropped() || error.is_connection_refusal()
    {
        ErrorKind::Unavailable
    } else {
        ErrorKind::Protocol
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_that_are_too_old_or_no_redis_are_refused() {
        assert!(check_server("# Server\r\nredis_version:7.0.15\r\n").is_ok());
        assert!(
            check_server("redis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:9.1.2\r\n")
                .is_ok()
        );
        let old = check_server("redis_version:6.2.1\r\n")
            .unwrap_err()
            .to_string();
        assert!(old.contains("6.2.1") && old.contains("7.0"), "{old}");
        assert!(check_server("hello").is_err());
    }
}
