//! One batch as a pipeline: records are read, then the epochs and the history of the strong reads,
//! then leases are taken, records stored and keys invalidated, by one script each.

use std::mem;
use std::sync::Arc;

use cache_core::tier::kit::LeaseHolder;
use cache_core::tier::{FillResult, FunctionKey, Mark};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, Pipeline, RedisError, Value};

use super::request::{LeaseReply, Read, Request, Sender, StrongRead};
use crate::commands::fill::{FilledKey, StoreRecords};
use crate::commands::invalidate::{InvalidateKeys, InvalidatedKey};
use crate::commands::lease_free::{FreeKey, LeaseFree, Leased};
use crate::commands::read::{self, ReadReply};
use crate::commands::stamps::is_same;
use crate::commands::{self, Command, LONGEST_TEXT};
use crate::errors;
use crate::keys::Keys;
use crate::leases::RedisLease;

/// The requests of a batch, by kind, and the pipeline that asks for their replies.
#[derive(Default)]
pub(super) struct Batch {
    pipeline: Pipeline,
    reads: Vec<Sender<Option<Vec<u8>>>>,
    /// Each with the place of its function.
    strong_reads: Vec<(usize, Sender<ReadReply>)>,
    /// The functions whose epochs are read.
    functions: Vec<Arc<FunctionKey>>,
    /// The arguments of the scripts, and where their callers get the replies, in the same order.
    free: Vec<FreeKey>,
    leases: Vec<LeaseSender>,
    filled: Vec<FilledKey>,
    fills: Vec<Sender<FillResult>>,
    invalidated: Vec<InvalidatedKey>,
    invalidations: Vec<Sender<()>>,
    drains: Vec<Sender<()>>,
}

/// Where a request for a lease gets its reply, and what holds the lease until then.
struct LeaseSender {
    holder: Option<LeaseHolder<RedisLease>>,
    reply: Sender<LeaseReply>,
}

impl Batch {
    /// Makes the pipeline of some requests. Nothing is sent for a caller that was dropped.
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
                    let StrongRead { read, function } = strong;
                    strong_reads.push(range(&read));
                    let place = batch.place_of(function);
                    batch.strong_reads.push((place, reply));
                }
                Request::Lease(lease, reply) if !reply.is_closed() => {
                    let holder = lease.holder;
                    batch.free.push(lease.key);
                    batch.leases.push(LeaseSender { holder, reply });
                }
                Request::Fill(filled, reply) if !reply.is_closed() => {
                    batch.filled.push(filled);
                    batch.fills.push(reply);
                }
                Request::Invalidate(key, reply) if !reply.is_closed() => {
                    batch.invalidated.push(key);
                    batch.invalidations.push(reply);
                }
                Request::Drain(reply) => batch.drains.push(reply),
                _ => {}
            }
        }
        for read in strong_reads {
            batch.pipeline.add_command(read);
        }
        batch.add_shared(keys);
        batch
    }

    /// The requests that are answered after all others.
    pub(super) fn take_drains(&mut self) -> Vec<Sender<()>> {
        mem::take(&mut self.drains)
    }

    /// The place of a function among those whose epochs are read.
    fn place_of(&mut self, function: Arc<FunctionKey>) -> usize {
        let place = self.functions.iter();
        let place = place.clone().position(|known| is_same(known, &function));
        place.unwrap_or_else(|| {
            self.functions.push(function);
            self.functions.len() - 1
        })
    }

    /// Adds the commands that several requests share.
    fn add_shared(&mut self, keys: &Keys) {
        let pipeline = &mut self.pipeline;
        if !self.functions.is_empty() {
            for function in &self.functions {
                pipeline.add_command(read::range(&keys.epoch(function), LONGEST_TEXT));
            }
            pipeline.add_command(read::range(&keys.history(), LONGEST_TEXT));
        }
        if !self.free.is_empty() {
            let lease = LeaseFree(&self.free);
            commands::add(pipeline, keys, lease);
        }
        if !self.filled.is_empty() {
            let store = StoreRecords(&self.filled);
            commands::add(pipeline, keys, store);
        }
        if !self.invalidated.is_empty() {
            let invalidate = InvalidateKeys(&self.invalidated);
            commands::add(pipeline, keys, invalidate);
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

    async fn answer(self, replies: Vec<Value>, connection: MultiplexedConnection, keys: &Keys) {
        let mut replies = replies.into_iter().map(checked);
        let mut next = move || replies.next().unwrap_or_else(|| Err(errors::no_reply()));
        for reply in self.reads {
            let _ = reply.send(read::record_in(bytes(next())));
        }
        let records: Vec<_> = self.strong_reads.iter().map(|_| bytes(next())).collect();
        if !records.is_empty() {
            let epochs = self.functions.iter();
            let epochs: Vec<_> = epochs.map(|_| read::text_in(bytes(next()))).collect();
            let history = read::text_in(bytes(next()));
            for ((place, reply), record) in self.strong_reads.into_iter().zip(records) {
                let _ = reply.send(read::reply(record, &epochs[place], &history));
            }
        }
        let mut scripts = Scripts { connection, keys };
        if !self.free.is_empty() {
            let leased = scripts.reply(next(), || LeaseFree(&self.free)).await;
            let leased = leased.and_then(|Leased { granted, mark }| {
                Ok((granted.of(self.leases.len(), || true)?, mark))
            });
            answer_leases(self.leases, leased);
        }
        if !self.filled.is_empty() {
            let stored = scripts.reply(next(), || StoreRecords(&self.filled)).await;
            let done = || Ok(FillResult::Stored);
            match stored.and_then(|stored| stored.of(self.fills.len(), done)) {
                Ok(stored) => {
                    for (reply, stored) in self.fills.into_iter().zip(stored) {
                        let _ = reply.send(stored);
                    }
                }
                Err(error) => fail(self.fills, &error),
            }
        }
        if !self.invalidated.is_empty() {
            let done = scripts.reply(next(), || InvalidateKeys(&self.invalidated));
            match done.await {
                Ok(()) => {
                    for reply in self.invalidations {
                        let _ = reply.send(Ok(()));
                    }
                }
                Err(error) => fail(self.invalidations, &error),
            }
        }
    }
}

/// Answers requests for leases. If the caller was dropped, the holder of the lease is dropped here.
fn answer_leases(leases: Vec<LeaseSender>, leased: Result<(Vec<bool>, Option<Mark>), RedisError>) {
    match leased {
        Ok((granted, mark)) => {
            for (LeaseSender { holder, reply }, is_granted) in leases.into_iter().zip(granted) {
                let _ = reply.send(Ok(LeaseReply {
                    is_granted,
                    mark,
                    holder,
                }));
            }
        }
        Err(error) => fail(leases.into_iter().map(|lease| lease.reply), &error),
    }
}

/// Where a script that the server has forgotten is sent again. It did nothing.
struct Scripts<'a> {
    connection: MultiplexedConnection,
    keys: &'a Keys,
}

impl Scripts<'_> {
    /// Parses the reply to a script.
    async fn reply<C: Command>(
        &mut self,
        reply: Result<Value, RedisError>,
        command: impl Fn() -> C,
    ) -> Result<C::Reply, RedisError> {
        match reply {
            Err(error) if error.code() == Some("NOSCRIPT") => {
                commands::load(&mut self.connection).await?;
                commands::send(&mut self.connection, self.keys, command()).await
            }
            reply => C::parse(reply?),
        }
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
