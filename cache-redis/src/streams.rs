//! Redis streams, as logs for the events of an application.
//!
//! Streams have connections of their own: one for all commands that are answered at once, and one
//! for each read that waits. So no command waits behind a blocking read, and the cache waits for
//! none of them. All streams of a namespace are in one shard, by default in the first one.

mod ask;
mod connections;
mod reply;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::stream::{After, StreamEntry, StreamFuture, StreamLog};
use cache_core::tier::Shard;
use cache_core::{Error, ErrorKind};
use redis::Cmd;

use crate::config::{Redis, Settings};
use crate::errors;
use crate::keys::{INVALIDATIONS, Keys};
use crate::locator::Locator;
use crate::number::millis;
use crate::streams::connections::{Again, Connections};
use crate::streams::reply::Found;

/// The largest number of steps in which the entries of a group are searched, and the largest number
/// of entries in one step. In each step the server looks at up to ten times as many entries, and
/// serves no other command in the meantime.
const MOST_STEPS: usize = 1_000;
const PORTION: usize = 1_000;

/// The streams of a namespace, made by [`Redis::streams`](crate::Redis::streams). Clones share its
/// connections.
///
/// The key of a stream is `{namespace:0}:#stream:` followed by its name, where 0 is the shard. The
/// commands that a user of the server must be permitted are listed at [`Redis`](crate::Redis).
#[derive(Clone)]
pub struct Streams(Arc<Inner>);

struct Inner {
    keys: Keys,
    time_limit: Duration,
    connections: Arc<Connections>,
}

impl fmt::Debug for Streams {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Streams").finish_non_exhaustive()
    }
}

impl Streams {
    /// The name of the stream that [`Redis::audit`](crate::Redis::audit) writes.
    pub const INVALIDATIONS: &str = INVALIDATIONS;

    fn new(locator: Locator, keys: Keys, connect_limit: Duration, time_limit: Duration) -> Self {
        Self(Arc::new(Inner {
            keys,
            time_limit,
            connections: Arc::new(Connections::new(locator, connect_limit)),
        }))
    }

    /// Returns the key of a stream.
    ///
    /// # Errors
    /// The name is empty.
    fn key(&self, stream: &str) -> Result<String, Error> {
        if stream.is_empty() {
            let what = "a stream has no name";
            return Err(Error::new(ErrorKind::Configuration, what));
        }
        Ok(self.0.keys.stream(stream))
    }

    /// Returns the id of the latest entry, after which all later entries are read.
    async fn last(&self, stream: &str) -> Result<String, Error> {
        let latest = self.latest(stream, 1).await?;
        let latest = latest.into_iter().next();
        Ok(latest.map_or_else(|| "0".to_owned(), |entry| entry.id))
    }
}

impl Redis {
    /// Returns the streams of this namespace: logs for the events of an application. They use
    /// connections of their own, which are made when they are needed.
    ///
    /// Streams use the addresses, the credentials, the certificate, the namespace and the time
    /// limits of these settings. If the server cannot be reached, each operation fails,
    /// [`required`](Self::required) or not. With several [`shards`](Self::shards), the streams are
    /// in shard 0.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration) if the settings are not valid for a tier.
    pub fn streams(&self) -> Result<Streams, Error> {
        self.streams_in_shard(0)
    }

    /// Returns the streams in a shard of this namespace: the stream that [`audit`](Self::audit)
    /// writes there, and streams of the application that are in no other shard.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration) if there is no such shard, or the settings are
    /// not valid for a tier.
    pub fn streams_in_shard(&self, shard: u8) -> Result<Streams, Error> {
        let topology = self.check()?;
        let shards = Shard::all(self.shard_count())?;
        let Some(shard) = shards.get(usize::from(shard)) else {
            let problem = format!(
                "Redis has no shard {shard}: it is set to {} (`Redis::shards`)",
                shards.len()
            );
            return Err(Error::new(ErrorKind::Configuration, problem));
        };
        let Settings {
            namespace,
            connect_limit,
            time_limit,
            access,
            ..
        } = &self.settings;
        let keys = Keys::new(namespace, *shard, topology.database());
        let locator = Locator::new(
            topology,
            access.clone(),
            keys.heartbeat(),
            *connect_limit,
            Arc::default(),
            shard.index().into(),
        );
        Ok(Streams::new(locator, keys, *connect_limit, *time_limit))
    }
}

/// Converts a number to one of the server, which is signed.
fn signed(number: impl TryInto<i64>) -> i64 {
    number.try_into().unwrap_or(i64::MAX)
}

/// Adds the maximum number of entries, and the time that the command waits for the first one.
fn add_limits(command: &mut Cmd, most: usize, wait: Option<Duration>) {
    command.arg("COUNT").arg(signed(most));
    if let Some(wait) = wait {
        command.arg("BLOCK").arg(millis(wait));
    }
}

/// The id after which entries are read.
///
/// # Errors
/// The text is not an id.
fn start(after: &After) -> Result<&str, Error> {
    match after {
        After::Start => Ok("0"),
        After::Now => Ok("$"),
        After::Entry(id) => {
            let is_number = |text: &str| text.parse::<u64>().is_ok();
            let (time, number) = id.split_once('-').unwrap_or((id, "0"));
            if !is_number(time) || !is_number(number) {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    format!("`{id}` is not the id of a stream's entry"),
                )
                .with_help("write it as entries have it: `1700000000000-0`"));
            }
            Ok(id)
        }
    }
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
                    "an entry of a stream has no fields",
                ));
            }
            if most == Some(0) {
                return Err(Error::new(
                    ErrorKind::Configuration,
                    "a stream keeps no entries: an entry would be dropped at once",
                ));
            }
            let mut command = redis::cmd("XADD");
            command.arg(self.key(stream)?);
            if let Some(most) = most {
                command.arg("MAXLEN").arg("~").arg(signed(most));
            }
            command.arg("*");
            for (name, value) in fields {
                command.arg(name).arg(value);
            }
            self.run_as("publish to a stream", &command, Again::No)
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
            if most == 0 {
                return Ok(Vec::new());
            }
            let key = self.key(stream)?;
            // Resolve `Now` to an id once: sending `$` again with each retry would skip the entries
            // that were added in between.
            let after = match after {
                After::Now => self.last(stream).await?,
                after => start(after)?.to_owned(),
            };
            let command = |wait| {
                let mut command = redis::cmd("XREAD");
                add_limits(&mut command, most, wait);
                command.arg("STREAMS").arg(&key).arg(&after);
                command
            };
            let answer = self.wait_for("read a stream", Again::Yes, wait, command);
            Ok(reply::entries(reply::of_stream(answer.await?)?))
        })
    }

    fn latest<'a>(&'a self, stream: &'a str, most: usize) -> StreamFuture<'a, Vec<StreamEntry>> {
        Box::pin(async move {
            if most == 0 {
                return Ok(Vec::new());
            }
            let mut command = redis::cmd("XREVRANGE");
            command.arg(self.key(stream)?).arg("+").arg("-");
            add_limits(&mut command, most, None);
            let answer = self.run("read a stream", &command, Again::Yes).await?;
            Ok(reply::entries(reply::found(answer)?))
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
            command.arg("CREATE").arg(self.key(stream)?).arg(group);
            command.arg(start(after)?).arg("MKSTREAM");
            let made = self.run("create a group of a stream's readers", &command, Again::No);
            match made.await {
                Ok(_) => Ok(true),
                Err(error) if errors::code_of(&error) == Some("BUSYGROUP") => Ok(false),
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
            if most == 0 {
                return Ok(Vec::new());
            }
            let key = self.key(stream)?;
            let command = |wait| {
                let mut command = redis::cmd("XREADGROUP");
                command.arg("GROUP").arg(group).arg(reader);
                add_limits(&mut command, most, wait);
                command.arg("STREAMS").arg(&key).arg(">");
                command
            };
            let answer = self.wait_for("read a stream as a group", Again::No, wait, command);
            Ok(reply::entries(reply::of_stream(answer.await?)?))
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
            let mut entries: Vec<StreamEntry> = Vec::new();
            let mut after = "0".to_owned();
            for _ in 0..MOST_STEPS {
                let left = most - entries.len();
                if left == 0 {
                    break;
                }
                let mut command = redis::cmd("XREADGROUP");
                command.arg("GROUP").arg(group).arg(reader);
                add_limits(&mut command, left, None);
                command.arg("STREAMS").arg(self.key(stream)?).arg(&after);
                let answer = self.run("read a stream as a group", &command, Again::Yes);
                let found = reply::of_stream(answer.await?)?;
                after = match found.last() {
                    Some(Found::Entry(entry)) => entry.id.clone(),
                    Some(Found::Trimmed(id)) => id.clone(),
                    None => break,
                };
                let trimmed = found.iter().filter_map(|found| match found {
                    Found::Trimmed(id) => Some(id.clone()),
                    Found::Entry(_) => None,
                });
                // The entries were trimmed, so no reader can process them any more.
                let trimmed: Vec<String> = trimmed.collect();
                entries.extend(reply::entries(found));
                if trimmed.is_empty() {
                    break;
                }
                self.acknowledge(stream, group, &trimmed).await?;
            }
            Ok(entries)
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
            command.arg(self.key(stream)?).arg(group).arg(ids);
            self.run_as("acknowledge entries of a stream", &command, Again::No)
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
            let mut entries: Vec<StreamEntry> = Vec::new();
            let mut next = "0-0".to_owned();
            for _ in 0..MOST_STEPS {
                let left = most - entries.len();
                if left == 0 {
                    break;
                }
                let mut command = redis::cmd("XAUTOCLAIM");
                command.arg(self.key(stream)?).arg(group).arg(reader);
                command.arg(signed(idle.as_millis())).arg(&next);
                add_limits(&mut command, left.min(PORTION), None);
                let answer = self.run("claim entries of a stream", &command, Again::No);
                let claimed = answer.await.and_then(reply::claimed);
                let claimed = match claimed {
                    Ok(claimed) => claimed,
                    // The entries of earlier steps are claimed for this reader: return them.
                    Err(_) if !entries.is_empty() => break,
                    Err(error) => return Err(error),
                };
                entries.extend(claimed.entries);
                next = claimed.next;
                if next == "0-0" {
                    break;
                }
            }
            Ok(entries)
        })
    }
}
