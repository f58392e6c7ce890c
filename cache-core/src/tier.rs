//! Tiers below memory: stores of records, shared with other instances or outliving this one.
//!
//! A tier holds bytes under keys and forgets them when their life is over. What makes it trustworthy is the
//! *fenced fill*: a record may only be stored under a [`Lease`] that was taken before the load began, and an
//! invalidation voids every lease of its target in the same step in which it deletes the records. So a value that was
//! loaded before an invalidation cannot come back after it, whoever is slow.

pub(crate) mod config;
mod key;
pub mod kit;
mod last_error;
mod lease;
mod local;
pub(crate) mod memory;
mod owed;
pub(crate) mod watch;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

pub use self::key::{FunctionKey, RecordKey};
pub use self::last_error::LastError;
pub use self::lease::{
    Deadlock, Guard, GuardHeld, HeldLease, Lease, LeaseHeld, LeaseMode, LeaseResult, Wakeup, Woken,
};
pub use self::local::LocalLeases;
pub use self::owed::{Bill, Owed};
use serde::Serialize;

use crate::coherence::Coherence;
use crate::error::Error;
use crate::fence::{Fences, Stripe};
pub use crate::glob::Glob;
use crate::level::Level;
use crate::policy::Consistency;
pub use crate::record::{ETAG, Etag, Stamp};
pub use crate::stats::Refusal;

/// A future that a tier returns. Dropping it may leave its operation done or not done, never half done.
pub type TierFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, Error>> + Send + 'a>>;

/// How much of a record tells it from another of its key: its header, with a checksum of the whole.
pub const HEADER_LEN: usize = crate::record::HEADER;

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

    /// What it knows of invalidations by other instances; `None` for a store that nobody else invalidates in. Without it
    /// functions that use the store hear of no invalidation but their own.
    fn coherence(&self) -> Option<&Arc<Coherence>> {
        None
    }

    /// Reads the record of a key, with the stamp that a valid one carries.
    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        question: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult>;

    /// Takes a lease to fill a key, or hears that another has it. Must be taken before the load begins.
    ///
    /// `seen` is the beginning, [`HEADER_LEN`] bytes at most, of the record that was read and could not be used, empty where there
    /// was none. For [`LeaseMode::Exclusive`], a store that holds another record by now answers [`LeaseResult::Held`] with a wake-up that
    /// has come already: somebody has filled the key since it was read.
    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        claim: LeaseMode,
        seen: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult>;

    /// Tells whether a wait for the lease on `awaited`, which another instance holds, would never end: because the load that
    /// runs under it waits for one of `held`, directly or through other loads and instances. `held` are leases of this
    /// process, given by this tier, whose loads cannot end before the wait does; there is at least one. The store notes the
    /// wait, for the callers that ask next.
    ///
    /// Asked before every such wait. If the answer is [`Deadlock::Unknown`], which is the default, the caller waits for two
    /// seconds at most and then runs its own body. If the question fails, the caller asks again three times within the two
    /// seconds, so it must be possible to ask twice. Each time has the time limit of the tier.
    ///
    /// # Errors
    /// The store was not reached, or did not answer.
    fn deadlock<'a>(
        &'a self,
        held: &'a [HeldLease],
        awaited: &'a RecordKey,
        within: Duration,
    ) -> TierFuture<'a, Deadlock> {
        let _ = (held, awaited, within);
        Box::pin(async { Ok(Deadlock::Unknown) })
    }

    /// Stores a record for `life`, if the lease still holds: no invalidation of the key or its function since.
    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult>;

    /// Deletes what `target` names, voids every lease on it, and tells the other instances, in one step.
    ///
    /// A store that can promise to do so later says [`Receipt::Queued`] where it cannot now, and may take `within` once more to
    /// write down what it promises.
    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt>;

    /// The functions of which something is in the store, named `name` with types behind it (`find<app::User>`): the instances of a
    /// generic function that this process has not called. For administrators, as
    /// [`invalidate_matching`](Self::invalidate_matching).
    ///
    /// # Errors
    /// Where it cannot be told now, and of a store that cannot look at its keys.
    fn instances<'a>(&'a self, name: &'a str, version: u32) -> TierFuture<'a, Vec<FunctionKey>> {
        let _ = version;
        let says =
            format!("the instances of `{name}` are not known: the store cannot list its keys");
        Box::pin(async move { Err(Error::configuration(says)) })
    }

    /// Invalidates the keys of a function whose arguments match, and returns how many there were; for administrators: it may look
    /// at all that is in the store, in steps that keep nobody waiting, and takes as long as that takes. What is loaded while it
    /// runs is invalidated where its load began before.
    ///
    /// A store that cannot look at its keys invalidates the whole function, and counts none.
    ///
    /// # Errors
    /// Where it cannot be done now. If the error is [transient](Error::is_transient), the runtime invalidates the whole function,
    /// which the store may queue.
    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        let _ = glob;
        Box::pin(async move {
            let target = Target::Function(function);
            match self.invalidate(target, self.time_limit()).await? {
                Receipt::Acked => Ok(0),
                Receipt::Queued => Err(Error::new(
                    crate::ErrorKind::Unavailable,
                    "the store is not reachable; the whole function is invalidated once it is",
                )),
            }
        })
    }

    /// Invalidates without being waited for: the call that came for it was dropped before it got here. A store that cannot be
    /// written without waiting may do nothing.
    fn invalidate_later(&self, target: Target<'_>) {
        let _ = target;
    }

    /// Whether an invalidation of the key [waits](Receipt::Queued) to be done here. Nothing that a tier above has of it counts
    /// meanwhile.
    fn is_pending(&self, key: &RecordKey) -> bool {
        let _ = key;
        false
    }

    /// Keeps everybody from filling a key until the guard is dropped: voids the leases on it, deletes its record, tells the
    /// other instances, and [refuses](Refusal::Guard) leases from then on. A guard whose process dies ends by itself; one that is
    /// dropped sees to it that its key is [invalidated](Self::invalidate), unless that was [done](Guard::end).
    ///
    /// A store that nobody else uses guards by [`LocalLeases::guard`]; by default nothing is kept out, which is not enough for
    /// `testing::conformance`.
    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        let _ = (key, within);
        Box::pin(async { Ok(Guard::new(())) })
    }

    /// The number of the link to the store: another one where what was acknowledged before may not be known to it any more.
    fn link(&self) -> u64 {
        0
    }

    /// Ends when so many replicas of the store have what was acknowledged before.
    ///
    /// # Errors
    /// [`TimedOut`](crate::ErrorKind::TimedOut) when fewer have it within the time; and for a store without replicas.
    fn replicated(&self, replicas: u32, within: Duration) -> TierFuture<'_, ()> {
        let _ = (replicas, within);
        Box::pin(async {
            Err(Error::new(
                crate::ErrorKind::Configuration,
                "the tier has no replicas to wait for",
            ))
        })
    }

    /// Asks the store for a sign of life: how long that took.
    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        let _ = within;
        Box::pin(async { Ok(Duration::ZERO) })
    }

    /// Ends when all that was [queued](Receipt::Queued) before is done, and no instance can any longer answer with what an
    /// invalidation that is done has dropped.
    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Whether its operations come to an end while every thread of the async runtime waits for one of them: whether plain functions
    /// may use it. Not where it spawns tasks, or waits for a network.
    fn serves_threads(&self) -> bool {
        false
    }

    /// How it is.
    fn health(&self) -> Health {
        Health::default()
    }

    /// Ends what runs beside it. Operations after it are [`Unavailable`](crate::ErrorKind::Unavailable).
    fn shutdown(&self) -> TierFuture<'_, ()>;
}

/// How [`Tier::read`] is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadOptions {
    /// [`Strong`](Consistency::Strong): the stamp must be of the moment of the read. [`Bounded`](Consistency::Bounded): what the
    /// store's channel has told of it will do, while that is [coherent](Tier::coherence).
    pub consistency: Consistency,
    /// The etag of a record that the caller has: where it is still that one, its first [`HEADER_LEN`] bytes will do.
    pub known: Option<Etag>,
}

/// What [`Tier::read`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadResult {
    /// The record's bytes, if there are any; the first [`HEADER_LEN`] alone where it is the one that was known.
    pub record: Option<Vec<u8>>,
    /// What a valid record carries. `None` where the store does not know: then no record of the function is valid.
    pub stamp: Option<Stamp>,
}

impl ReadResult {
    /// What was found.
    #[must_use]
    pub fn new(record: Option<Vec<u8>>, stamp: Option<Stamp>) -> Self {
        Self { record, stamp }
    }
}

/// What became of a fill.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FillResult {
    /// It is stored.
    Stored,
    /// Nothing is stored.
    Refused(Refusal),
}

/// What an invalidation names.
///
/// A tier handles each target by name, without a `_` arm: if a target is added, every tier that does
/// not handle it yet fails to compile.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_enums,
    reason = "a tier that took a new target for another one would keep stale records, or drop all"
)]
pub enum Target<'a> {
    /// One key.
    Key(&'a RecordKey),
    /// All keys of a function, in one step.
    Function(&'a FunctionKey),
    /// All keys of the store's namespace, in one step.
    All,
}

/// How far an invalidation got when it returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(clippy::exhaustive_enums, reason = "these are all the answers")]
pub enum Receipt {
    /// Done in every tier; other instances hear of it within their bound.
    Acked,
    /// Done in this process; a shared tier could not be reached, and will be told when it can. Until then other instances may
    /// answer with the old value.
    Queued,
}

/// What an invalidation by [pattern](Glob) came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Matched {
    /// The keys that matched, in the tier that had most. Zero if there were none, and where no tier could count them: a store that
    /// cannot look at its keys, or cannot be reached, drops the whole function.
    pub keys: u64,
    /// Whether every tier has done it.
    pub receipt: Receipt,
}

impl Matched {
    /// No key, and nothing that is left to do.
    pub(crate) const NONE: Self = Self {
        keys: 0,
        receipt: Receipt::Acked,
    };

    /// Of one function in two tiers: a key that both have is one.
    pub(crate) fn in_both(self, other: Self) -> Self {
        Self {
            keys: self.keys.max(other.keys),
            receipt: self.receipt.max(other.receipt),
        }
    }

    /// Of two functions.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            keys: self.keys + other.keys,
            receipt: self.receipt.max(other.receipt),
        }
    }
}

/// How a lower tier is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether it can be reached.
    pub connected: bool,
    /// Whether other instances use it, so that it has a channel to be coherent over.
    pub has_channel: bool,
    /// How long it has been coherent without a break; `None` while it is not.
    pub coherent_for: Option<Duration>,
    /// How long ago the last barrier that was answered began.
    pub last_barrier: Option<Duration>,
    /// Invalidations that wait to be sent.
    pub queued: usize,
    /// Channels that were lost, or could not be trusted.
    pub isolations: u64,
    /// Messages of the channel that were missing.
    pub gaps: u64,
    /// Times the store was found to be another, or to have lost something.
    pub history_changes: u64,
    /// Invalidations that were sent again.
    pub replays: u64,
    /// Features that cannot be used although the tier is, each with the reason: a permission that is
    /// missing at the store. They do not make a tier unwell, because an application need not use
    /// them.
    pub unusable: Vec<String>,
}

/// The other instances, as a tier's channel tells of them: what they invalidated must no longer be answered here.
///
/// To be called in the order in which the messages were read, before anything that was sent after them is answered.
#[derive(Clone, Debug)]
pub struct Peers(Arc<Fences>, Arc<OnceLock<Vec<Weak<dyn Tier>>>>);

impl Peers {
    pub(crate) fn new(fences: Arc<Fences>) -> Self {
        Self(fences, Arc::default())
    }

    /// The tiers above the one that these are told by.
    pub(crate) fn set_above(&self, above: Vec<Weak<dyn Tier>>) {
        // Once, when the runtime is built.
        let _ = self.1.set(above);
    }

    /// What had [waited](Receipt::Queued) is done now, and was not when the tiers above were told: somebody may have copied up
    /// what it was to delete. They are told again. To be called before anybody hears that nothing waits any more.
    pub fn done_late(&self, target: Target<'_>) {
        for above in self.1.get().into_iter().flatten() {
            if let Some(above) = above.upgrade() {
                above.invalidate_later(target);
            }
        }
    }

    /// Nobody, for a tier that is tested alone.
    #[must_use]
    pub fn none() -> Self {
        Self::new(Arc::new(Fences::new()))
    }

    /// Somebody invalidated the key with this digest.
    pub fn invalidated_key(&self, digest: u64) {
        self.0.raise(Stripe::of(digest));
    }

    /// Somebody invalidated the function with this digest.
    pub fn invalidated_function(&self, digest: u64) {
        self.0.raise_shared(Some(digest));
    }

    /// Somebody invalidated everything, or it is not known what.
    pub fn invalidated_all(&self) {
        self.0.raise_shared(None);
    }
}

/// Whether operations on a tier are attempted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct TierStatus {
    /// Its place.
    pub level: Level,
    /// What it is: `redis`.
    pub kind: &'static str,
    /// Whether it is in service.
    pub breaker: Breaker,
    /// How it is.
    pub health: Health,
    /// How long it took to answer when it was asked for this; `None` where it did not, or was not asked.
    pub answered_in: Option<Duration>,
    /// Why it did not, or why it does not serve the calls although it answered.
    pub last_error: Option<String>,
}

/// What a builder of tiers is told about the runtime.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierContext {
    /// The level the tier will have.
    pub level: Level,
    /// Whom to tell of invalidations by other instances.
    pub peers: Peers,
}

impl TierContext {
    /// What there is to tell.
    #[must_use]
    pub fn new(level: Level, peers: Peers) -> Self {
        Self { level, peers }
    }
}

/// Something that a tier can be built of, such as `Redis::new("redis://…")`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tier below memory",
    label = "give a tier such as `Redis::new(\"redis://127.0.0.1:6379\")`",
    note = "memory is `l1`: `.l1(Memory::builder())`"
)]
pub trait TierBuilder: fmt::Debug + Send {
    /// Which store it leads to, as far as the settings tell: one that two tiers of a runtime name is an error at `install`, since
    /// each would wait for what the other holds. `None` where no two can be one, or nothing is known.
    fn store(&self) -> Option<String> {
        None
    }

    /// Builds the tier, without touching the network.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) when a setting cannot be used.
    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error>;
}
