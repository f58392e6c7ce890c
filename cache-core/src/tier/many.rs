//! Operations on several keys at once.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::key::RecordKey;
use super::lease::Lease;
use crate::error::Error;

/// The future of an operation on several keys. Each key has a result of its own, in the order in
/// which the keys were given. It is as cancel safe as the operation on one key.
pub type ManyFuture<'a, T> = Pin<Box<dyn Future<Output = Vec<Result<T, Error>>> + Send + 'a>>;

/// One key of [`Tier::lease_many`](super::Tier::lease_many).
#[derive(Clone, Copy, Debug)]
#[expect(clippy::exhaustive_structs, reason = "the arguments of `Tier::lease`")]
pub struct LeaseRequest<'a> {
    /// The key that is to be filled.
    pub key: &'a RecordKey,
    /// The beginning of the record that the caller read and could not use; empty if there was none.
    pub expected_header: &'a [u8],
}

/// One record of [`Tier::fill_many`](super::Tier::fill_many).
#[derive(Debug)]
#[expect(clippy::exhaustive_structs, reason = "the arguments of `Tier::fill`")]
pub struct Fill<'a> {
    /// The key of the record.
    pub key: &'a RecordKey,
    /// The lease under which it is stored.
    pub lease: &'a Lease,
    /// The bytes of the record.
    pub record: Vec<u8>,
    /// The time after which it expires.
    pub life: Duration,
}
