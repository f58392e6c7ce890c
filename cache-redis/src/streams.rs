//! Redis streams. On connections of their own: one for all that answers at once, and one for each read that waits, so that none
//! waits for another, and the cache for none.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::stream::{After, StreamEntry, StreamFuture, StreamLog};
use cache_core::{Error, ErrorKind};
use redis::aio::MultiplexedConnection;
use redis::streams::{StreamAutoClaimReply, StreamId, StreamRangeReply, StreamReadReply};
use redis::{AsyncConnectionConfig, Client, Cmd, FromRedisValue, RedisError, Value};
use tokio::time::timeout;

use crate::keys::Keys;
use crate::link::millis;
use crate::server;

/// Most connections that are kept for reads that wait.
const MOST_IDLE: usize = 8;

/// How many times a command follows the nodes of a cluster to the one that has the namespace.
const MOST_MOVES: usize = 3;

/// The streams of a namespace; [`Redis::streams`](crate::Redis::streams) makes it. Clones share its connections.
///
/// A stream's key is `{namespace:0}:#stream:` and its name. A user of the server needs XADD, XREAD, XREVRANGE, XGROUP, XREADGROUP,
/// XACK and XAUTOCLAIM beside what the cache does.
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    keys: Keys,
    connect_limit: Duration,
    time_limit: Duration,
    state: Mutex<State>,
}

struct State {
    client: Client,
    shared: Option<MultiplexedConnection>,
    idle: Vec<MultiplexedConnection>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

/// What a command waits for.
#[derive(Clone, Copy)]
enum Waits {
    No,
    /// For entries, so long; `None` is for ever.
    For(Option<Duration>),
}

impl Streams {
    /// The stream that [`Redis::audit`](crate::Redis::audit) has written.
    pub const INVALIDATIONS: &str = "#invalidations";

    pub(crate) fn new(
        client: Client,
        keys: Keys,
        connect_limit: Duration,
        time_limit: Duration,
    ) -> Self {
        Self(Arc::new(Inner {
            keys,
            connect_limit,
            time_limit,
            state: Mutex::new(State {
                client,
                shared: None,
                idle: Vec::new(),
            }),
        }))
    }

    fn key(&self, stream: &str) -> String {
        self.0.keys.stream(stream)
    }

    /// Runs a command that may be run again where the connection that was kept is gone.
    async fn run<T: FromRedisValue>(
        &self,
        what: &'static str,
        command: &Cmd,
        waits: Waits,
    ) -> Result<T, Error> {
        self.run_again(what, command, waits, true).await
    }

    async fn run_again<T: FromRedisValue>(
        &self,
        what: &'static str,
        command: &Cmd,
        waits: Waits,
        is_repeatable: bool,
    ) -> Result<T, Error> {
        for _ in 0..MOST_MOVES {
            let (mut connection, was_kept) = self.0.connection(waits).await?;
            let limit = match waits {
                Waits::No => Some(self.0.time_limit),
                Waits::For(wait) => wait.and_then(|wait| wait.checked_add(self.0.time_limit)),
            };
            let answer = command.query_async::<Value>(&mut connection);
            let answer = match limit {
                None => answer.await,
                Some(limit) => timeout(limit, answer)
                    .await
                    .unwrap_or_else(|_| Err(server::no_answer())),
            };
            match answer {
                Ok(value) => {
                    self.0.keep(connection, waits);
                    return T::from_redis_value(value)
                        .map_err(|error| server::failed(what, RedisError::from(error)));
                }
                Err(error) => {
                    self.0.lose(waits);
                    let is_stale = is_repeatable && was_kept && error.is_connection_dropped();
                    let error = server::failed(what, error);
                    let is_moved = self.0.follow(&error);
                    if !is_stale && !is_moved {
                        return Err(error);
                    }
                }
            }
        }
        Err(Error::new(
            ErrorKind::Unavailable,
            format!("{what}: no connection to Redis lasts"),
        ))
    }
}

impl Inner {
    /// A connection, and whether it was there before.
    async fn connection(&self, waits: Waits) -> Result<(MultiplexedConnection, bool), Error> {
        let (kept, client) = {
            let mut state = self.lock();
            let kept = match waits {
                Waits::No => state.shared.clone(),
                Waits::For(_) => state.idle.pop(),
            };
            (kept, state.client.clone())
        };
        if let Some(kept) = kept {
            return Ok((kept, true));
        }
        // The limits are ours.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(self.connect_limit))
            .set_response_timeout(None);
        let connecting = client.get_multiplexed_async_connection_with_config(&config);
        let connection = timeout(self.connect_limit, connecting)
            .await
            .unwrap_or_else(|_| Err(server::no_answer()))
            .map_err(|error| server::failed("connect to Redis for its streams", error))?;
        if matches!(waits, Waits::No) {
            self.lock().shared = Some(connection.clone());
        }
        Ok((connection, false))
    }

    fn keep(&self, connection: MultiplexedConnection, waits: Waits) {
        let mut state = self.lock();
        if matches!(waits, Waits::For(_)) && state.idle.len() < MOST_IDLE {
            state.idle.push(connection);
        }
    }

    fn lose(&self, waits: Waits) {
        if matches!(waits, Waits::No) {
            self.lock().shared = None;
        }
    }

    /// Goes to the node of a cluster that has the namespace, if that is what the error says.
    fn follow(&self, error: &Error) -> bool {
        let mut state = self.lock();
        let Some(moved) = server::moved_client(&state.client, error) else {
            return false;
        };
        *state = State {
            client: moved,
            shared: None,
            idle: Vec::new(),
        };
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds how long a command is to wait, and says so: for the server zero is for ever.
fn waiting(command: &mut Cmd, wait: Duration) -> Waits {
    if wait.is_zero() {
        return Waits::No;
    }
    // What a server's clock cannot add is for ever.
    let is_short = wait < Duration::from_secs(10 * 365 * 24 * 60 * 60);
    command
        .arg("BLOCK")
        .arg(if is_short { millis(wait) } else { 0 });
    Waits::For(is_short.then_some(wait))
}

fn start(after: &After) -> &str {
    match after {
        After::Start => "0",
        After::Now => "$",
        After::Entry(id) => id,
    }
}

fn entry(id: StreamId) -> Result<StreamEntry, Error> {
    let StreamId { id, map, .. } = id;
    let fields = map
        .into_iter()
        .map(|(name, value)| Ok((name, Vec::<u8>::from_redis_value(value)?)))
        .collect::<Result<Vec<_>, redis::ParsingError>>();
    let fields =
        fields.map_err(|error| server::failed("read an entry", RedisError::from(error)))?;
    Ok(StreamEntry::new(id, fields))
}

fn entries(ids: Vec<StreamId>) -> Result<Vec<StreamEntry>, Error> {
    ids.into_iter().map(entry).collect()
}

fn only(reply: Option<StreamReadReply>) -> Result<Vec<StreamEntry>, Error> {
    let keys = reply.map(|reply| reply.keys).unwrap_or_default();
    entries(keys.into_iter().flat_map(|key| key.ids).collect())
}

impl StreamLog for Streams {
    fn publish<'a>(
        &'a self,
        stream: &'a str,
        fields: &'a [(&'a str, &'a [u8])],
        most: Option<usize>,
    ) -> StreamFuture<'a, String> {
        Box::pin(async move {
            if fields.is_empty() {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "publish an entry without fields",
                ));
            }
            let mut command = redis::cmd("XADD");
            command.arg(self.key(stream));
            if let Some(most) = most {
                command.arg("MAXLEN").arg("~").arg(most);
            }
            command.arg("*");
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
            // An entry that may be there already is not published again.
            self.run_again("publish to a stream", &command, Waits::No, false)
                .await
        })
    }

    fn read<'a>(
        &'a self,
        stream: &'a str,
        after: &'a After,
        most: usize,
        wait: Duration,
    ) -> StreamFuture<'a, Vec<StreamEntry>> {
        Box::pin(async move {
            let mut command = redis::cmd("XREAD");
            command.arg("COUNT").arg(most.max(1));
            let waits = waiting(&mut command, wait);
            command
                .arg("STREAMS")
                .arg(self.key(stream))
                .arg(start(after));
            only(self.run("read a stream", &command, waits).await?)
        })
    }

    fn latest<'a>(&'a self, stream: &'a str, most: usize) -> StreamFuture<'a, Vec<StreamEntry>> {
        Box::pin(async move {
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.key(stream)).arg("+").arg("-");
            command.arg("COUNT").arg(most.max(1));
            let reply: StreamRangeReply = self.run("read a stream", &command, Waits::No).await?;
            entries(reply.ids)
        })
    }

    fn create_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        after: &'a After,
    ) -> StreamFuture<'a, bool> {
        Box::pin(async move {
            let mut command = redis::cmd("XGROUP");
            command.arg("CREATE").arg(self.key(stream)).arg(group);
            command.arg(start(after)).arg("MKSTREAM");
            let made: Result<(), Error> = self
                .run("make a group of a stream's readers", &command, Waits::No)
                .await;
            match made {
                Ok(()) => Ok(true),
                Err(error) if server::code_of(&error) == Some("BUSYGROUP") => Ok(false),
                Err(error) => Err(error),
            }
        })
    }

    fn read_group<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        most: usize,
        wait: Duration,
    ) -> StreamFuture<'a, Vec<StreamEntry>> {
        Box::pin(async move {
            let mut command = redis::cmd("XREADGROUP");
            command.arg("GROUP").arg(group).arg(reader);
            command.arg("COUNT").arg(most.max(1));
            let waits = waiting(&mut command, wait);
            command.arg("STREAMS").arg(self.key(stream)).arg(">");
            only(
                self.run("read a stream as a group", &command, waits)
                    .await?,
            )
        })
    }

    fn unacknowledged<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        most: usize,
    ) -> StreamFuture<'a, Vec<StreamEntry>> {
        Box::pin(async move {
            let mut command = redis::cmd("XREADGROUP");
            command.arg("GROUP").arg(group).arg(reader);
            command.arg("COUNT").arg(most.max(1));
            command.arg("STREAMS").arg(self.key(stream)).arg("0");
            let reply = self.run("read a stream as a group", &command, Waits::No);
            only(reply.await?)
        })
    }

    fn acknowledge<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        ids: &'a [String],
    ) -> StreamFuture<'a, usize> {
        Box::pin(async move {
            if ids.is_empty() {
                return Ok(0);
            }
            let mut command = redis::cmd("XACK");
            command.arg(self.key(stream)).arg(group).arg(ids);
            self.run("acknowledge entries of a stream", &command, Waits::No)
                .await
        })
    }

    fn claim<'a>(
        &'a self,
        stream: &'a str,
        group: &'a str,
        reader: &'a str,
        idle: Duration,
        most: usize,
    ) -> StreamFuture<'a, Vec<StreamEntry>> {
        Box::pin(async move {
            let mut command = redis::cmd("XAUTOCLAIM");
            command.arg(self.key(stream)).arg(group).arg(reader);
            command
                .arg(u64::try_from(idle.as_millis()).unwrap_or(u64::MAX >> 1))
                .arg("0")
                .arg("COUNT")
                .arg(most.max(1));
            let reply: StreamAutoClaimReply = self
                .run("claim entries of a stream", &command, Waits::No)
                .await?;
            entries(reply.claimed)
        })
    }
}
