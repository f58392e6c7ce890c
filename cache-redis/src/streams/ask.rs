//! How a command is sent to the server, wherever that is, and sent again where that is safe.

use std::time::Duration;

use cache_core::Error;
use redis::{Cmd, FromRedisValue, RedisError, Value};
use tokio::time::{Instant, timeout};

use crate::server;
use crate::streams::Streams;
use crate::streams::connections::{Again, Connection, is_over, is_refused};

/// How many times a command is sent elsewhere: to the node of a cluster that has the namespace, or to the first address again.
const MOST_MOVES: usize = 3;

/// How long a read waits before it asks again: a connection that is open on this side alone is noticed then.
const ASKED_AGAIN: Duration = Duration::from_secs(60);

/// Whether a command waits for entries, and until when.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    Until(Instant),
    ForEver,
}

impl Waits {
    fn for_so_long(wait: Duration) -> Self {
        if wait.is_zero() {
            return Self::No;
        }
        // What the clock cannot add is for ever.
        Instant::now()
            .checked_add(wait)
            .map_or(Self::ForEver, Self::Until)
    }

    /// How long it waits in one step.
    fn step(self) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Until(end) => Some(
                end.saturating_duration_since(Instant::now())
                    .min(ASKED_AGAIN),
            ),
            Self::ForEver => Some(ASKED_AGAIN),
        }
    }

    fn is_over(self) -> bool {
        match self {
            Self::No => true,
            Self::Until(end) => Instant::now() >= end,
            Self::ForEver => false,
        }
    }
}

impl Streams {
    /// Runs a command that is answered at once.
    pub(super) async fn run(
        &self,
        what: &'static str,
        command: &Cmd,
        again: Again,
    ) -> Result<Value, Error> {
        self.ask(what, again, Waits::No, |_| command.clone()).await
    }

    pub(super) async fn run_as<T: FromRedisValue>(
        &self,
        what: &'static str,
        command: &Cmd,
        again: Again,
    ) -> Result<T, Error> {
        let value = self.run(what, command, again).await?;
        T::from_redis_value(value).map_err(|error| server::failed(what, RedisError::from(error)))
    }

    /// Runs a read, again and again until it brings something or has waited for so long. `command` makes the command: with BLOCK,
    /// and so long, where it is told how long.
    pub(super) async fn wait_for(
        &self,
        what: &'static str,
        again: Again,
        wait: Duration,
        command: impl Fn(Option<Duration>) -> Cmd,
    ) -> Result<Value, Error> {
        let waits = Waits::for_so_long(wait);
        loop {
            match self.ask(what, again, waits, &command).await? {
                Value::Nil if !waits.is_over() => {}
                answer => return Ok(answer),
            }
        }
    }

    /// Asks once, wherever the namespace is.
    async fn ask(
        &self,
        what: &'static str,
        again: Again,
        waits: Waits,
        command: impl Fn(Option<Duration>) -> Cmd,
    ) -> Result<Value, Error> {
        let connections = &self.0.connections;
        let mut moves = 0;
        let (mut is_new, is_waiting) = (false, waits != Waits::No);
        loop {
            let mut connection = match connections.get(is_waiting, is_new).await {
                Ok(connection) => connection,
                Err(error) => {
                    // The node that was moved to may be gone; the first one knows who has taken its place.
                    let was_moved = connections.give_up();
                    if !was_moved || moves == MOST_MOVES {
                        return Err(error);
                    }
                    moves += 1;
                    continue;
                }
            };
            let step = waits.step();
            let error = match self.send(&mut connection, &command(step), step).await {
                Ok(answer) => {
                    if is_waiting {
                        connections.keep(connection);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let (is_over, is_refused) = (is_over(&error), is_refused(&error));
            let is_harmless = is_refused || (again == Again::Yes && error.is_connection_dropped());
            let error = server::failed(what, error);
            if moves < MOST_MOVES && connections.follow(&error) {
                moves += 1;
                continue;
            }
            if is_over {
                connections.give_up();
            } else if is_waiting {
                connections.keep(connection.clone());
            }
            if !connection.was_kept || !is_harmless {
                return Err(error);
            }
            // It was of no use since before. A new one may be.
            is_new = true;
        }
    }

    async fn send(
        &self,
        connection: &mut Connection,
        command: &Cmd,
        step: Option<Duration>,
    ) -> Result<Value, RedisError> {
        let limit = self.0.time_limit + step.unwrap_or_default();
        let answer = command.query_async(&mut connection.link);
        timeout(limit, answer)
            .await
            .unwrap_or_else(|_| Err(server::no_answer()))
    }
}
