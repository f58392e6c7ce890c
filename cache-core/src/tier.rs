//! Tiers below memory: stores of records, shared with other instances or outliving this one.
//!
//! A tier holds bytes under keys and forgets them when their life is over. What makes it trustworthy is the
//! *fenced fill*: a record may only be stored under a [`Lease`] that was taken before the load began, and an
//! invalidation voids every lease of its target in the same step in which it deletes the records. So a value that was
//! loaded before an invalidation cannot come back after it, whoever is slow.

pub(crate) mod memory;
pub(crate) mod stack;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::level::Level;

/// A future that a tier returns. Dropping it may leave its operation done or not done, never half done.
pub type TierFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// A store of records.
///
/// Every operation gets the time it may take, `within`, and must end by then, be it with an error
/// ([`TimedOut`](crate::ErrorKind::TimedOut)): callers wait for it. An operation that is sure to fail (no connection,
/// open breaker) fails at once.
///
/// All futures may be dropped at any time.
pub trait Tier: fmt::Debug + Send + Sync + 'static {
    /// What it is, in one word, for logs: `redis`.
    fn kind(&self) -> &'static str;

    /// What a call may spend on this tier beyond its body, in all.
    fn time_limit(&self) -> Duration;

    /// Largest record, in bytes, that is sent to it.
    fn max_record_bytes(&self) -> usize;

    /// The time in milliseconds by the clock that all users of this store share. Times of records are of this clock.
    fn now(&self) -> u64;

    /// Whether callers are sent to it.
    fn breaker(&self) -> Breaker;

    /// Begins to serve: connects, starts what runs beside it. Called once, in an async runtime.
    ///
    /// # Errors
    /// Only what must keep the runtime from being installed; a store that may come back is a warning and an
    /// [`Unavailable`](crate::ErrorKind::Unavailable) tier until then.
    fn start(&self) -> TierFuture<'_, ()>;

    /// Reads the record of a key, with the function's epoch as of the same moment.
    fn read<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Found>;

    /// Takes a lease to fill a key. Must be taken before the load begins.
    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        claim: Claim,
        within: Duration,
    ) -> TierFuture<'a, Lease>;

    /// Stores a record for `life`, if the lease still holds: no invalidation of the key or its function since.
    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, Fill>;

    /// Deletes what `target` names and voids every lease on it, in one step.
    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, ()>;

    /// Ends what runs beside it. Operations after it are [`Unavailable`](crate::ErrorKind::Unavailable).
    fn shutdown(&self) -> TierFuture<'_, ()>;
}

/// The name of a function as tiers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionKey {
    /// Its name; single colons are escaped, so that `name:version:arguments` reads one way only.
    pub name: String,
    /// Its version.
    pub version: u32,
}

/// The name of a record as tiers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordKey {
    /// The function.
    pub function: Arc<FunctionKey>,
    /// Its arguments, readable, of bounded length; different for different arguments.
    pub arguments: String,
}

impl FunctionKey {
    /// A function's name.
    #[must_use]
    pub fn new(name: &str, version: u32) -> Self {
        Self {
            name: escape_name(name),
            version,
        }
    }
}

impl RecordKey {
    /// A record's name.
    #[must_use]
    pub fn new(function: Arc<FunctionKey>, arguments: String) -> Self {
        Self {
            function,
            arguments,
        }
    }
}

/// `a::b<c::D>` stays as it is; what could be read as structure is percent-encoded.
fn escape_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            escaped.push_str("::");
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c.is_alphanumeric() || "_-./<>,&()[];+=*".contains(c) {
            escaped.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    escaped
}

/// What [`Tier::read`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Found {
    /// The record's bytes, if there are any.
    pub record: Option<Vec<u8>>,
    /// The function's epoch; a record of another is no longer valid. `None` where the store knows none: then no record
    /// of the function is valid.
    pub epoch: Option<u64>,
}

impl Found {
    /// What was found.
    #[must_use]
    pub fn new(record: Option<Vec<u8>>, epoch: Option<u64>) -> Self {
        Self { record, epoch }
    }
}

/// The right to fill one key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Lease {
    /// Known to the store and to who holds the lease.
    pub token: u64,
    /// The function's epoch when it was taken.
    pub epoch: u64,
}

impl Lease {
    /// A lease.
    #[must_use]
    pub fn new(token: u64, epoch: u64) -> Self {
        Self { token, epoch }
    }
}

/// What a lease is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// A miss: whoever else loads for the same reason may fill as well.
    Share,
    /// A refresh or a put: who loads already must not fill over it, and its lease is void from now on.
    TakeOver,
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fill {
    /// It is stored.
    Stored,
    /// The lease no longer held; nothing is stored.
    Refused,
}

/// What an invalidation names.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Target<'a> {
    /// One key.
    Key(&'a RecordKey),
    /// All keys of a function, in one step.
    Function(&'a FunctionKey),
}

/// Whether operations on a tier are attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Breaker {
    /// They are.
    Closed,
    /// They fail at once: the tier is out of order.
    Open,
    /// They fail at once, and a probe is under way.
    HalfOpen,
}

/// A lower tier of a runtime, now.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TierStatus {
    /// Its place.
    pub level: Level,
    /// What it is: `redis`.
    pub kind: &'static str,
    /// Whether it is in service.
    pub breaker: Breaker,
}

/// What a builder of tiers is told about the runtime.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierContext {
    /// The level the tier will have.
    pub level: Level,
}

impl TierContext {
    /// What there is to tell.
    #[must_use]
    pub fn new(level: Level) -> Self {
        Self { level }
    }
}

/// Something that a tier can be built of, such as `Redis::new("redis://…")`.
pub trait TierBuilder: fmt::Debug + Send {
    /// Builds the tier, without touching the network.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) when a setting cannot be used.
    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error>;
}
