//! The requests of a batch, and their replies.

use std::sync::Arc;

use cache_core::tier::kit::LeaseHolder;
use cache_core::tier::{FillResult, FunctionKey, Mark};
use redis::RedisError;
use tokio::sync::oneshot;

use crate::commands::fill::FilledKey;
use crate::commands::invalidate::InvalidatedKey;
use crate::commands::lease_free::FreeKey;
use crate::commands::read::ReadReply;
use crate::leases::RedisLease;

/// Where a request gets its reply.
pub(super) type Sender<T> = oneshot::Sender<Result<T, RedisError>>;

/// A request of one operation.
#[derive(Debug)]
pub(super) enum Request {
    Read(Read, Sender<Option<Vec<u8>>>),
    StrongRead(StrongRead, Sender<ReadReply>),
    Lease(LeaseRequest, Sender<LeaseReply>),
    Fill(FilledKey, Sender<FillResult>),
    Invalidate(InvalidatedKey, Sender<()>),
    /// Answered after all earlier requests.
    Drain(Sender<()>),
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
    pub(crate) key: FreeKey,
    /// Releases the lease if the caller does not take it.
    pub(crate) holder: Option<LeaseHolder<RedisLease>>,
}

/// The reply to a [`LeaseRequest`].
#[derive(Debug)]
pub(crate) struct LeaseReply {
    /// `true` if the lease is granted under the stamp of the request. Otherwise nothing was taken.
    pub(crate) is_granted: bool,
    /// The state of the ledger, if this request or another one of the batch asked for it.
    pub(crate) mark: Option<Mark>,
    pub(crate) holder: Option<LeaseHolder<RedisLease>>,
}
