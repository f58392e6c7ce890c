//! One batch as a pipeline.
//!
//! The order of its commands:
//! 1. Records are read, and leases are taken where the key has none.
//! 2. The epochs and the history are read, for the strong reads and the leases. What an
//!    invalidation changes before this point shows here, and what one changes later happened after
//!    the strong reads. An invalidation of a key deletes its lease, whenever it comes.
//! 3. Records are stored, by one script.
//! 4. Keys are invalidated, by one script.
//!
//! A lease that was taken in step 1 is granted in step 2: if history and epoch are still those that
//! its text has, the key has neither a record nor guards, and nothing else can have been stored
//! since.

use std::sync::Arc;

use cache_core::tier::{FillResult, FunctionKey, Stamp};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};

use super::{LeaseRequest, Read, Request, Sender, StrongRead, TakenLease};
use crate::commands::fill::{FilledKey, StoreRecords};
use crate::commands::invalidate::{InvalidateKeys, InvalidatedKey};
use crate::commands::lease::exclusive_lease;
use crate::commands::read::{self, ReadReply};
use crate::commands::{self, Command, LONGEST_TEXT};
use crate::errors;
use crate::keys::Keys;
use crate::number::millis;

/// The requests of a batch, by kind, and the pipeline that asks for their replies.
#[derive(Default)]
pub(super) struct Batch {
    pipeline: Pipeline,
    reads: Vec<Sender<Option<Vec<u8>>>>,
    strong_reads: Vec<(usize, Sender<ReadReply>)>,
    leases: Vec<Lease>,
    /// The functions whose epochs are read.
    functions: Vec<Arc<FunctionKey>>,
    filled: Vec<FilledKey>,
    fills: Vec<Sender<FillResult>>,
    invalidated: Vec<InvalidatedKey>,
    invalidations: Vec<Sender<()>>,
}

/// A request for a lease, and the place of its function.
struct Lease {
    request: LeaseRequest,
    function: usize,
    reply: Sender<TakenLease>,
}

impl Batch {
    /// Makes the pipeline of some requests. The callers of some may have gone: then nothing is
    /// sent for them.
    pub(super) fn new(requests: impl Iterator<Item = Request>, keys: &Keys) -> Self {
        let mut batch = Self::default();
        let mut strong_reads = Vec::new();
        for request in requests {
            match request {
                Request::Read(read, reply) if !reply.is_closed() => {
                    batch.pipeline.add_command(range(&read));
                    batch.reads.push(reply);
                }
                Request::StrongRead(strong, reply) if !reply.is_closed() => {
                    strong_reads.push(range(&strong.read));
                    let StrongRead { function, .. } = strong;
                    let function = batch.place_of(function);
                    batch.strong_reads.push((function, reply));
                }
                Request::Lease(request, reply) if !reply.is_closed() => {
                    let function = batch.place_of(Arc::clone(&request.function));
                    batch.leases.push(Lease {
                        request,
                        function,
                        reply,
                    });
                }
                Request::Fill(filled, reply) if !reply.is_closed() => {
                    batch.filled.push(filled);
                    batch.fills.push(reply);
                }
                Request::Invalidate(key, reply) if !reply.is_closed() => {
                    batch.invalidated.push(key);
                    batch.invalidations.push(reply);
                }
                _ => {}
            }
        }
        for read in strong_reads {
            batch.pipeline.add_command(read);
        }
        batch.add_shared(keys);
        batch
    }

    /// The place of a function among those whose epochs are read.
    fn place_of(&mut self, function: Arc<FunctionKey>) -> usize {
        let is_same = |known: &Arc<FunctionKey>| {
            Arc::ptr_eq(known, &function)
                || (known.digest == function.digest && **known == *function)
        };
        let place = self.functions.iter().position(is_same);
        place.unwrap_or_else(|| {
            self.functions.push(function);
            self.functions.len() - 1
        })
    }

    fn add_shared(&mut self, keys: &Keys) {
        for Lease { request, .. } in &self.leases {
            let mut take = Cmd::with_capacity(7, request.lease.len() + 120);
            take.arg("SET")
                .arg(&request.lease)
                .arg(exclusive_lease(request.token, request.stamp))
                .arg("NX")
                .arg("GET")
                .arg("PX")
                .arg(millis(request.life));
            self.pipeline.add_command(take);
            let mut look = redis::cmd("EXISTS");
            look.arg(&request.guards).arg(&request.record);
            self.pipeline.add_command(look);
        }
        if !self.functions.is_empty() {
            for function in &self.functions {
                self.pipeline.add_command(text(&keys.epoch(function)));
            }
            self.pipeline.add_command(text(&keys.history()));
        }
        for (_, filled) in groups(&self.filled) {
            let history = filled[0].stamp.history;
            let store = StoreRecords {
                history,
                records: filled,
            };
            self.pipeline
                .invoke_script(&commands::invocation(keys, store));
        }
        if !self.invalidated.is_empty() {
            let invalidate = InvalidateKeys {
                keys: &self.invalidated,
            };
            let invocation = commands::invocation(keys, invalidate);
            self.pipeline.invoke_script(&invocation);
        }
    }

    /// Sends the pipeline, and answers each request.
    pub(super) async fn send(self, mut connection: MultiplexedConnection, keys: Arc<Keys>) {
        let count = self.pipeline.len();
        if count == 0 {
            return;
        }
        let replies = connection.send_packed_commands(&self.pipeline, 0, count);
        match replies.await {
            Ok(replies) => self.answer(replies, connection, &keys).await,
            Err(error) => self.fail(&error),
        }
    }

    /// Answers all requests with an error.
    fn fail(self, error: &RedisError) {
        fail(self.reads, error);
        fail(self.strong_reads.into_iter().map(|(_, reply)| reply), error);
        fail(self.leases.into_iter().map(|lease| lease.reply), error);
        fail(self.fills, error);
        fail(self.invalidations, error);
    }

    async fn answer(self, replies: Vec<Value>, mut connection: MultiplexedConnection, keys: &Keys) {
        let mut replies = replies.into_iter().map(checked);
        let mut next = move || replies.next().unwrap_or_else(|| Err(errors::no_reply()));
        for reply in self.reads {
            let _ = reply.send(read::record_in(bytes(next())));
        }
        let records: Vec<_> = self.strong_reads.iter().map(|_| bytes(next())).collect();
        let taken: Vec<_> = self.leases.iter().map(|_| (next(), next())).collect();
        let mut epochs = Vec::new();
        let mut history = Ok(Vec::new());
        if !self.functions.is_empty() {
            epochs.extend(self.functions.iter().map(|_| read::text_in(bytes(next()))));
            history = read::text_in(bytes(next()));
        }
        for ((function, reply), record) in self.strong_reads.into_iter().zip(records) {
            let _ = reply.send(read::reply(record, &epochs[function], &history));
        }
        for (lease, taken) in self.leases.into_iter().zip(taken) {
            lease.answer(taken, &epochs, &history);
        }
        let mut fills = self.fills.into_iter();
        for (_, filled) in groups(&self.filled) {
            let reply = next();
            let store = || StoreRecords {
                history: filled[0].stamp.history,
                records: filled,
            };
            let stored = repeated(reply, &mut connection, keys, store).await;
            let stored = stored.and_then(StoreRecords::parse);
            let fills = fills.by_ref().take(filled.len());
            match stored {
                Ok(stored) => {
                    for (reply, stored) in fills.zip(stored) {
                        let _ = reply.send(stored);
                    }
                }
                Err(error) => fail(fills, &error),
            }
        }
        if !self.invalidated.is_empty() {
            let reply = next();
            let invalidate = || InvalidateKeys {
                keys: &self.invalidated,
            };
            match repeated(reply, &mut connection, keys, invalidate).await {
                Ok(_) => {
                    for reply in self.invalidations {
                        let _ = reply.send(Ok(()));
                    }
                }
                Err(error) => fail(self.invalidations, &error),
            }
        }
    }
}

impl Lease {
    /// Answers the request. `taken` are the replies of its two commands.
    fn answer(
        self,
        taken: (Result<Value, RedisError>, Result<Value, RedisError>),
        epochs: &[Result<Vec<u8>, RedisError>],
        history: &Result<Vec<u8>, RedisError>,
    ) {
        let Stamp {
            epoch,
            history: begun,
        } = self.request.stamp;
        let is_epoch =
            matches!(&epochs[self.function], Ok(text) if read::number(text) == Some(epoch));
        let is_history = matches!(history, Ok(text) if read::history_number(text) == Some(begun));
        // A connection that is lost, or a server that cannot serve, is an error of the operation.
        // Anything else is left to the script, which says what it is.
        let fatal = [&taken.0, &taken.1]
            .into_iter()
            .find_map(|reply| match reply {
                Err(error) if errors::is_fatal(error) => Some(error.clone()),
                _ => None,
            });
        let is_free = matches!(taken, (Ok(Value::Nil), Ok(Value::Int(0))));
        let is_other = matches!(taken.0, Ok(Value::BulkString(_)));
        let taken = TakenLease {
            is_granted: is_free && is_epoch && is_history,
            is_taken: !is_other,
            holder: self.request.holder,
        };
        let _ = self.reply.send(match fatal {
            Some(error) => Err(error),
            None => Ok(taken),
        });
    }
}

/// Fills of the same history, in the order in which they are sent.
fn groups(filled: &[FilledKey]) -> impl Iterator<Item = (usize, &[FilledKey])> {
    filled
        .chunk_by(|one, other| one.stamp.history == other.stamp.history)
        .enumerate()
}

/// Runs a script again that the server had forgotten, so that it did nothing.
async fn repeated<C: Command>(
    reply: Result<Value, RedisError>,
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    command: impl Fn() -> C,
) -> Result<Value, RedisError> {
    match reply {
        Err(error) if error.code() == Some("NOSCRIPT") => {
            commands::load(connection).await?;
            let invocation = commands::invocation(keys, command());
            let mut pipeline = Pipeline::with_capacity(1);
            pipeline.invoke_script(&invocation);
            let mut replies = connection.send_packed_commands(&pipeline, 0, 1).await?;
            replies
                .pop()
                .map_or_else(|| Err(errors::no_reply()), checked)
        }
        reply => reply,
    }
}

fn fail<T>(requests: impl IntoIterator<Item = Sender<T>>, error: &RedisError) {
    for request in requests {
        let _ = request.send(Err(error.clone()));
    }
}

/// The error of the server, if the reply is one. An error inside of a reply is left there.
fn checked(reply: Value) -> Result<Value, RedisError> {
    match reply {
        Value::ServerError(error) => Err(error.into()),
        reply => Ok(reply),
    }
}

fn bytes(reply: Result<Value, RedisError>) -> Result<Vec<u8>, RedisError> {
    match reply? {
        Value::BulkString(bytes) => Ok(bytes),
        other => Ok(redis::from_redis_value(other)?),
    }
}

fn range(read: &Read) -> Cmd {
    read::range(&read.record, read.last)
}

fn text(name: &str) -> Cmd {
    read::range(name, LONGEST_TEXT)
}
