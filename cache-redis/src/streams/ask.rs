//! Sends a command to the server that has the namespace, and sends it again where that is safe.

use std::time::Duration;

use cache_core::Error;
use redis::{Cmd, FromRedisValue, RedisError, Value};
use tokio::time::{Instant, timeout};

use crate::errors;
use crate::streams::Streams;
use crate::streams::connections::{Again, Connection, is_fatal, is_refused};

/// The number of times that a command is sent to another address: to the node of a cluster that has
/// the namespace, or to the first address again.
const MOST_MOVES: usize = 3;

/// The shortest time that a command waits: zero would mean that it waits without limit.
const SHORTEST_STEP: Duration = Duration::from_millis(1);

/// The time until which a command waits for entries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Waits {
    No,
    Until(Instant),
    Forever,
}

impl Waits {
    fn new(wait: Duration) -> Self {
        if wait.is_zero() {
            return Self::No;
        }
        // A time that the clock cannot represent never comes.
        Instant::now()
            .checked_add(wait)
            .map_or(Self::Forever, Self::Until)
    }

    /// Returns the time that the command waits in one step.
    fn step(self, longest: Duration) -> Option<Duration> {
        match self {
            Self::No => None,
            Self::Until(end) => Some(end.saturating_duration_since(Instant::now()).min(longest)),
            Self::Forever => Some(longest),
        }
    }

    fn has_ended(self) -> bool {
        match self {
            Self::No => true,
            Self::Until(end) => Instant::now() >= end,
            Self::Forever => false,
        }
    }
}

impl Streams {
    /// Runs a command that does not wait.
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
        T::from_redis_value(value).map_err(|error| errors::failed(what, RedisError::from(error)))
    }

    /// Runs a read until it returns entries or has waited for `wait`. `command` makes the command
    /// of a step, with `BLOCK` and the given time if there is one.
    pub(super) async fn wait_for(
        &self,
        what: &'static str,
        again: Again,
        wait: Duration,
        command: impl Fn(Option<Duration>) -> Cmd,
    ) -> Result<Value, Error> {
        let waits = Waits::new(wait);
        loop {
            match self.ask(what, again, waits, &command).await? {
                Value::Nil if !waits.has_ended() => {}
                answer => return Ok(answer),
            }
        }
    }

    /// Runs one step on the server that has the namespace.
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
                    // The server that was found for an earlier command may no longer exist, and
                    // another one may have taken its place.
                    let is_worth_a_search = connections.give_up();
                    if !is_worth_a_search || moves == MOST_MOVES {
                        return Err(error);
                    }
                    moves += 1;
                    continue;
                }
            };
            // A read does not wait past the end of the connection's credentials.
            let step = waits.step(connections.longest_step()).map(|step| {
                let left = connection.left().unwrap_or(step);
                step.min(left.max(SHORTEST_STEP))
            });
            let error = match self.send(&mut connection, &command(step), step).await {
                Ok(answer) => {
                    if is_waiting {
                        connections.keep(connection);
                    }
                    return Ok(answer);
                }
                Err(error) => error,
            };
            let (is_fatal, is_refused) = (is_fatal(&error), is_refused(&error));
            let is_harmless = is_refused || (again == Again::Yes && error.is_connection_dropped());
            let error = errors::failed(what, error);
            if moves < MOST_MOVES && connections.follow(&error) {
                moves += 1;
                continue;
            }
            if is_fatal {
                connections.give_up();
            } else if is_waiting {
                connections.keep(connection.clone());
            }
            if !connection.was_kept || !is_harmless {
                return Err(error);
            }
            // The connection was broken before this command. A new one may work.
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
            .unwrap_or_else(|_| Err(errors::no_reply()))
    }
}
