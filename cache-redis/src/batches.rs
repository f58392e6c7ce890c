//! Batches: operations of different calls that are sent to the server together.
//!
//! While few operations are in progress on a link, each is sent by itself. From
//! [`CROWD`] on, they are given to a task of the link, which sends all that have arrived since its
//! last batch in one pipeline. Such a pipeline costs the client library one message, and the
//! operations share what they need in common: the history and the epochs are read once, and
//! invalidations and fills run as one script each.
//!
//! An operation of a batch has the same effect as one that was sent alone, at the moment at which
//! its part of the batch runs. [`pipeline`] says in which order the parts run.
//!
//! # Invariants
//! 1. A request is sent at most once, or it had no effect: only a script that the server does not
//!    know is sent again.
//! 2. The task ends with its link, and requests that have no reply yet fail then.
//! 3. A lease that was requested in a batch is released only after its request was answered.

mod pipeline;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use cache_core::tier::kit::LeaseHolder;
use cache_core::tier::{FillResult, FunctionKey, Stamp};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use self::pipeline::Batch;
use crate::commands::PORTION;
use crate::commands::fill::FilledKey;
use crate::commands::invalidate::InvalidatedKey;
use crate::commands::read::ReadReply;
use crate::errors;
use crate::keys::Keys;
use crate::leases::RedisLease;

/// The number of operations in progress from which on further ones are sent in batches. With fewer,
/// the way over the task would cost more than it saves.
const CROWD: usize = 4;

/// The number of batches without a reply from which on no further one is sent. While the server
/// works on these, the next batch grows.
const MOST_BATCHES: usize = 2;

/// The largest record that is sent in a batch, in bytes. A larger one would delay the others.
pub(crate) const LARGEST_RECORD: usize = 16 * 1024;

/// Where a request gets its reply.
type Sender<T> = oneshot::Sender<Result<T, RedisError>>;

/// Gives operations to the task that sends them. Clones belong to the same link.
#[derive(Clone, Debug)]
pub(crate) struct Batches {
    requests: mpsc::UnboundedSender<Request>,
    /// The number of operations in progress. Relaxed: it orders nothing, and decides only which way
    /// an operation takes.
    running: Arc<AtomicUsize>,
}

/// An operation in progress. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Running<'a> {
    batches: &'a Batches,
    /// `true` if it is to be sent in a batch.
    pub(crate) is_batched: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.batches.running.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A request of one operation.
#[derive(Debug)]
enum Request {
    Read(Read, Sender<Option<Vec<u8>>>),
    StrongRead(StrongRead, Sender<ReadReply>),
    Lease(LeaseRequest, Sender<TakenLease>),
    Fill(FilledKey, Sender<FillResult>),
    Invalidate(InvalidatedKey, Sender<()>),
}

/// A read of a record.
#[derive(Debug)]
pub(crate) struct Read {
    /// The name of its key.
    pub(crate) record: String,
    /// Index of the last byte to be read.
    pub(crate) last: usize,
}

/// A read of a record and of the control keys that it is judged by.
#[derive(Debug)]
pub(crate) struct StrongRead {
    pub(crate) read: Read,
    pub(crate) function: Arc<FunctionKey>,
}

/// A request for an exclusive lease on a key that is expected to be free.
#[derive(Debug)]
pub(crate) struct LeaseRequest {
    /// The names of the keys.
    pub(crate) record: String,
    pub(crate) lease: String,
    pub(crate) guards: String,
    pub(crate) function: Arc<FunctionKey>,
    pub(crate) token: u64,
    pub(crate) life: Duration,
    /// What the caller knows about function and history.
    pub(crate) stamp: Stamp,
    /// Releases the lease if the caller does not take it.
    pub(crate) holder: Option<LeaseHolder<RedisLease>>,
}

/// The reply to a [`LeaseRequest`].
#[derive(Debug)]
pub(crate) struct TakenLease {
    /// `true` if the lease is granted under the stamp of the request. If not, the key is not free,
    /// or the stamp has changed, and the script finds out which.
    pub(crate) is_granted: bool,
    /// `true` if the server may have the lease, granted or not.
    pub(crate) is_taken: bool,
    pub(crate) holder: Option<LeaseHolder<RedisLease>>,
}

impl Batches {
    /// Makes the batches of a link, whose records are on `connection`. The second part is the task,
    /// which works while it is polled.
    pub(crate) fn new(
        connection: MultiplexedConnection,
        keys: Arc<Keys>,
    ) -> (Self, impl Future<Output = ()> + Send + 'static) {
        let (requests, received) = mpsc::unbounded_channel();
        let batches = Self {
            requests,
            running: Arc::default(),
        };
        (batches, send_all(received, connection, keys))
    }

    /// Begins an operation, and says whether it is to be sent in a batch.
    pub(crate) fn begin(&self) -> Running<'_> {
        let others = self.running.fetch_add(1, Ordering::Relaxed);
        Running {
            batches: self,
            is_batched: others >= CROWD,
        }
    }

    pub(crate) async fn read(&self, read: Read) -> Result<Option<Vec<u8>>, RedisError> {
        self.ask(|reply| Request::Read(read, reply)).await
    }

    pub(crate) async fn strong_read(&self, read: StrongRead) -> Result<ReadReply, RedisError> {
        self.ask(|reply| Request::StrongRead(read, reply)).await
    }

    pub(crate) async fn lease(&self, lease: LeaseRequest) -> Result<TakenLease, RedisError> {
        self.ask(|reply| Request::Lease(lease, reply)).await
    }

    pub(crate) async fn fill(&self, filled: FilledKey) -> Result<FillResult, RedisError> {
        self.ask(|reply| Request::Fill(filled, reply)).await
    }

    pub(crate) async fn invalidate(&self, key: InvalidatedKey) -> Result<(), RedisError> {
        self.ask(|reply| Request::Invalidate(key, reply)).await
    }

    async fn ask<T>(&self, request: impl FnOnce(Sender<T>) -> Request) -> Result<T, RedisError> {
        let (sender, reply) = oneshot::channel();
        // Both fail if the task has ended with its link.
        let _ = self.requests.send(request(sender));
        reply.await.unwrap_or_else(|_| Err(errors::link_ended()))
    }
}

/// Sends the requests that arrive, until the link ends.
async fn send_all(
    mut requests: mpsc::UnboundedReceiver<Request>,
    connection: MultiplexedConnection,
    keys: Arc<Keys>,
) {
    // Aborted with this task.
    let mut batches = JoinSet::new();
    let mut arrived = Vec::with_capacity(PORTION);
    while requests.recv_many(&mut arrived, PORTION).await > 0 {
        let batch = Batch::new(arrived.drain(..), &keys);
        batches.spawn(batch.send(connection.clone(), Arc::clone(&keys)));
        while batches.try_join_next().is_some() {}
        while batches.len() >= MOST_BATCHES {
            batches.join_next().await;
        }
    }
}
