//! The contract of a tier.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::inspection::Inspection;
use super::key::{FunctionKey, RecordKey};
use super::lease::{Guard, Lease, LeaseMode, LeaseResult};
use super::ledger::{Expiry, Ledger};
use super::many::{Fill, LeaseRequest, ManyFuture};
#[cfg(feature = "inspect")]
use super::observed::ObservedRuntime;
use super::operation::{FillResult, ReadOptions, ReadResult, Receipt, Target, TierFuture};
use super::settings::TierSettings;
use super::shared::SharedTier;
use super::status::{Breaker, Health};
use crate::clock::unix_millis;
use crate::coherence::Coherence;
use crate::error::{Error, ErrorKind};
use crate::function::options::Consistency;
use crate::glob::Glob;
use crate::join::join_all;

/// A store of records below memory.
///
/// An implementation that follows the rules here passes `testing::tier_conformance!`. A private
/// store, which one instance uses, needs four functions only: see [`kit`](super::kit). A shared one
/// implements [`SharedTier`] as well.
///
/// # Rules
///
/// 1. **Fenced fill.** [`fill`](Self::fill) checks the lease and writes in one step, and
///    [`invalidate`](Self::invalidate) deletes the records and voids the leases in one step. No
///    fill under a lease from before an invalidation MUST ever store after it.
/// 2. **Time.** An operation with a parameter `within` MUST end within that time, if need be with
///    [`TimedOut`](ErrorKind::TimedOut), because callers wait for it. An operation that is sure to
///    fail (no connection, open breaker) MUST fail at once, with
///    [`Unavailable`](ErrorKind::Unavailable). The runtime gives up an operation that overruns its
///    time by 100 ms.
/// 3. **Cancel safety.** The runtime may drop any future at any time. Its operation is then done or
///    not done, never half done. A dropped [`lease`](Self::lease) MUST NOT leave a lease behind.
/// 4. **Failure.** Errors of a tier never reach the callers of cached functions: a failed read is a
///    miss. Where a method has no `# Errors` section of its own, it returns `Unavailable` if the
///    store was not reached, `TimedOut` if it did not answer in time, and
///    [`Protocol`](ErrorKind::Protocol) if it answered something that was not asked for.
/// 5. **Opaque keys.** [`RecordKey::name`] and [`FunctionKey::versioned`] have one meaning each; a
///    tier MUST keep records of different names apart. Names have any length and characters.
pub trait Tier: fmt::Debug + Send + Sync + 'static {
    /// Returns the settings, which MUST be the same for the life of the tier.
    fn settings(&self) -> &TierSettings;

    /// Returns the time in milliseconds since the Unix epoch, by the clock that all users of the
    /// store share. The times in records are of this clock. Default: the clock of this host, which
    /// is right for a private store.
    fn now(&self) -> u64 {
        unix_millis()
    }

    /// Returns whether operations are attempted. Called for every call that reads the tier, so it
    /// MUST NOT allocate or wait. Default: always [`Closed`](Breaker::Closed).
    fn breaker(&self) -> Breaker {
        Breaker::Closed
    }

    /// Returns the state of the store, for operators. Default: connected while the
    /// [breaker](Self::breaker) is closed, and nothing queued.
    fn health(&self) -> Health {
        Health {
            connected: self.breaker() == Breaker::Closed,
            ..Health::default()
        }
    }

    /// Returns the tier as a [`SharedTier`], if several instances use its store. The answer MUST be
    /// the same for the life of the tier, and MUST NOT allocate or wait. Default: `None`, a private
    /// tier. Functions that use a private tier alone learn of no invalidation but their own.
    fn as_shared(&self) -> Option<&dyn SharedTier> {
        None
    }

    /// Connects to the store and starts background tasks. Called once, in an async runtime, before
    /// any other operation. Default: does nothing.
    ///
    /// # Errors
    /// Only what must keep the runtime from being installed. If the store may become reachable
    /// later, the tier MUST log a warning and return `Ok`, and its operations MUST fail with
    /// [`Unavailable`](ErrorKind::Unavailable) until then.
    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Reads the record of a key, and the stamp that a valid record carries.
    ///
    /// If a function is invalidated while the record is read, the stamp MUST NOT make the old
    /// record valid: a tier reads the stamp at a moment at which the record could not yet be
    /// replaced or deleted unnoticed.
    fn read<'a>(
        &'a self,
        key: &'a RecordKey,
        options: ReadOptions,
        within: Duration,
    ) -> TierFuture<'a, ReadResult>;

    /// Takes a lease to fill a key, or learns that another caller holds it. The runtime takes it
    /// before the load begins.
    ///
    /// `expected_header` is the beginning, at most [`HEADER_LEN`](super::HEADER_LEN) bytes, of the
    /// record that the caller read and could not use, and is empty if there was none. For a mode
    /// that [waits](LeaseMode::waits), if the store now holds another record, the tier MUST answer
    /// [`LeaseResult::Held`] with a wake-up that is ready: the key was filled since the read.
    ///
    /// [`LeaseMode::Refresh`] is [`LeaseMode::Exclusive`] for a caller that has a value. A tier may
    /// treat both alike, or keep the [back-off](super::BackOff) of a key whose load failed.
    ///
    /// # Cancel safety
    /// If the future is dropped, no lease is left.
    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        mode: LeaseMode,
        expected_header: &'a [u8],
        within: Duration,
    ) -> TierFuture<'a, LeaseResult>;

    /// Stores a record, which expires after `life`, if the lease is still valid: neither the key
    /// nor its function nor everything was invalidated since it was granted. Ends the lease if it
    /// stores.
    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, FillResult>;

    /// Deletes the records of `target` and voids every lease on it, in one step. A shared tier also
    /// publishes the invalidation to the other instances, in the same step or after it, and before
    /// it returns.
    ///
    /// A tier that cannot do so now, and can promise to do it later, returns [`Receipt::Queued`].
    /// It may take `within` a second time to write the promise down. Until the invalidation is
    /// done, [`is_pending`](Self::is_pending) MUST return `true` for its keys, and the tier MUST
    /// NOT return or store records of them.
    ///
    /// # Errors
    /// As rule 4. An error means that the records may still be there, and that the tier does not
    /// promise to delete them.
    ///
    /// # Cancel safety
    /// If the future is dropped after it was polled, the invalidation is done, queued or not done.
    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, Receipt>;

    /// Invalidates without a result, because the call that wanted the invalidation was dropped
    /// before it reached this tier. MUST NOT wait. Default: does nothing, for a store that cannot
    /// be written without waiting.
    fn invalidate_later(&self, target: Target<'_>) {
        let _ = target;
    }

    /// Invalidates the records that carry one of the tags with these digests, in one step, and
    /// publishes the invalidation as [`invalidate`](Self::invalidate) does. A shared tier MUST
    /// publish it, also if it has no [ledger](Self::ledger): the memory of other instances has
    /// tagged values.
    ///
    /// Default: does nothing, for a private tier without a ledger, in which a tagged record is
    /// stored only if the runtime judges it by its own fences.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`invalidate`](Self::invalidate).
    fn invalidate_tags<'a>(&'a self, tags: &'a [u64], within: Duration) -> TierFuture<'a, Receipt> {
        let _ = (tags, within);
        Box::pin(async { Ok(Receipt::Acked) })
    }

    /// Invalidates tags without a result, as [`invalidate_later`](Self::invalidate_later). Default:
    /// does nothing.
    fn invalidate_tags_later(&self, tags: &[u64]) {
        let _ = tags;
    }

    /// Makes values stale, so that a function returns them as far as it returns stale values, and
    /// loads them again. The load of a key that is in progress MUST NOT be stored as a fresh value:
    /// the tier voids the leases of [`Expiry::Key`], and counts the expiry in its
    /// [ledger](Self::ledger). It publishes the expiry to the other instances.
    ///
    /// Default: invalidates them. This is also what a tier does that cannot do so now.
    ///
    /// # Errors
    /// As [`invalidate`](Self::invalidate).
    ///
    /// # Cancel safety
    /// As [`invalidate`](Self::invalidate).
    fn expire<'a>(&'a self, target: Expiry<'a>, within: Duration) -> TierFuture<'a, Receipt> {
        match target {
            Expiry::Key(key) => self.invalidate(Target::Key(key), within),
            Expiry::Function(function) => self.invalidate(Target::Function(function), within),
            Expiry::Tags(tags) => self.invalidate_tags(tags, within),
        }
    }

    /// Returns the ledger by which records with tags are judged. The answer MUST be the same for
    /// the life of the tier, and MUST NOT allocate or wait. Default: `None`. Values with tags are
    /// then not stored in the tier, unless it is private and the runtime judges its records by its
    /// own fences.
    fn ledger(&self) -> Option<&dyn Ledger> {
        None
    }

    /// Reads the records of several keys, as [`read`](Self::read) does for one. The results are in
    /// the order of the keys, and one key that cannot be read fails alone. Default: reads them one
    /// by one, at the same time.
    fn read_many<'a>(
        &'a self,
        keys: &'a [&'a RecordKey],
        options: ReadOptions,
        within: Duration,
    ) -> ManyFuture<'a, ReadResult> {
        let reads = keys.iter().map(move |key| self.read(key, options, within));
        Box::pin(join_all(reads))
    }

    /// Takes leases on several keys, as [`lease`](Self::lease) does for one. The results are in the
    /// order of the requests. Default: takes them one by one, at the same time.
    ///
    /// # Cancel safety
    /// If the future is dropped, no lease is left.
    fn lease_many<'a>(
        &'a self,
        requests: &'a [LeaseRequest<'a>],
        mode: LeaseMode,
        within: Duration,
    ) -> ManyFuture<'a, LeaseResult> {
        let leases = requests
            .iter()
            .map(move |request| self.lease(request.key, mode, request.expected_header, within));
        Box::pin(join_all(leases))
    }

    /// Stores several records, as [`fill`](Self::fill) does for one. The results are in the order
    /// of the fills. Default: stores them one by one, at the same time.
    fn fill_many<'a>(
        &'a self,
        fills: Vec<Fill<'a>>,
        within: Duration,
    ) -> ManyFuture<'a, FillResult> {
        let fills = fills
            .into_iter()
            .map(move |fill| self.fill(fill.key, fill.lease, fill.record, fill.life, within));
        Box::pin(join_all(fills))
    }

    /// Returns whether an invalidation of the key is [queued](Receipt::Queued). While it is, copies
    /// of the record in the tiers above are not valid either. Called for every value that is copied
    /// up, so it MUST NOT wait. Default: `false`, for a tier that queues nothing.
    fn is_pending(&self, key: &RecordKey) -> bool {
        let _ = key;
        false
    }

    /// Keeps everybody from filling a key until the guard is dropped: voids the leases on the key,
    /// deletes its record, publishes the invalidation, and [refuses](super::Refusal::Guard) leases
    /// from then on.
    ///
    /// If the guard is dropped without [`Guard::end`], the tier MUST [invalidate](Self::invalidate)
    /// the key once more. If the process dies, the guard MUST end by itself.
    ///
    /// Default: a guard without an effect, which does not pass `testing::tier_conformance!`. A
    /// private tier guards by [`LocalLeases::guard`](super::LocalLeases::guard).
    fn guard<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Guard> {
        let _ = (key, within);
        Box::pin(async { Ok(Guard::new(())) })
    }

    /// Waits until everything that was [queued](Receipt::Queued) before is done, and no instance
    /// can return a value any longer that an earlier invalidation deleted. Has no time limit.
    /// Default: returns at once.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) if the tier is shut down first; as rule 4 if the
    /// store fails.
    ///
    /// # Cancel safety
    /// Cancel safe.
    fn settle(&self) -> TierFuture<'_, ()> {
        Box::pin(async { Ok(()) })
    }

    /// Publishes the state of the runtime for tools, if the tier is set to. Called once, after
    /// [`start`](Self::start), on the tier of the first shard. The tier MUST NOT publish after
    /// [`shutdown`](Self::shutdown). Default: does nothing.
    #[cfg(feature = "inspect")]
    fn observe(&self, runtime: Arc<dyn ObservedRuntime>) {
        drop(runtime);
    }

    /// Ends background tasks and releases the store. Operations after it MUST fail with
    /// [`Unavailable`](ErrorKind::Unavailable).
    ///
    /// # Errors
    /// If something that the tier promised could not be done, such as queued invalidations.
    fn shutdown(&self) -> TierFuture<'_, ()>;

    /// Looks at what the store has under a key, for operators, and changes nothing: it takes and
    /// renews no lease, and a call that comes after it finds everything as it was. It is asked
    /// whatever the state of the breaker, and MUST fail as [`read`](Self::read) does. A breaker
    /// MUST NOT count its results: a timeout opens none, and a reply ends no row of timeouts.
    ///
    /// Default: [reads](Self::read) the record, and tells of no lease. That is for a tier whose
    /// reads change nothing and are not counted by a breaker.
    fn inspect<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Inspection> {
        let options = ReadOptions {
            consistency: Consistency::Strong,
            if_none_match: None,
        };
        Box::pin(async move {
            let read = self.read(key, options, within).await?;
            Ok(Inspection::from(read))
        })
    }

    /// Asks the store for a sign of life, and returns how long the answer took. Default: zero, for
    /// a store that is always there.
    fn ping(&self, within: Duration) -> TierFuture<'_, Duration> {
        let _ = within;
        Box::pin(async { Ok(Duration::ZERO) })
    }

    /// Lists the functions of which the store holds something and whose name is `name` followed by
    /// types (`find<app::User>`): the instances of a generic function that this process has not
    /// called. For administrators, as [`invalidate_matching`](Self::invalidate_matching).
    ///
    /// # Errors
    /// As rule 4. Default: [`Configuration`](ErrorKind::Configuration), for a store that cannot
    /// list its keys.
    fn instances<'a>(&'a self, name: &'a str, version: u32) -> TierFuture<'a, Vec<FunctionKey>> {
        let _ = version;
        let problem =
            format!("the instances of `{name}` are not known: the store cannot list its keys");
        Box::pin(async move { Err(Error::configuration(problem)) })
    }

    /// Invalidates the keys of a function whose arguments match, and returns their number.
    ///
    /// For administrators: the tier may look at every key of the store and take as long as that
    /// takes, in steps that delay no other operation. Leases on matching keys that were granted
    /// before a step reaches them are void. Default: invalidates the whole function and returns 0,
    /// for a store that cannot list its keys.
    ///
    /// # Errors
    /// If it cannot be done now. If the error is [transient](Error::is_transient), the runtime
    /// invalidates the whole function instead, which the tier may queue.
    fn invalidate_matching<'a>(
        &'a self,
        function: &'a FunctionKey,
        glob: &'a Glob,
    ) -> TierFuture<'a, u64> {
        let _ = glob;
        Box::pin(async move {
            let target = Target::Function(function);
            match self.invalidate(target, self.settings().time_limit).await? {
                Receipt::Acked => Ok(0),
                Receipt::Queued => Err(Error::new(
                    ErrorKind::Unavailable,
                    "the store is not reachable; the whole function is invalidated once it is",
                )),
            }
        })
    }
}

impl dyn Tier {
    /// The state of the channel; `None` for a private tier.
    pub(crate) fn coherence(&self) -> Option<&Arc<Coherence>> {
        self.as_shared().map(SharedTier::coherence)
    }

    /// The number of the current link to the store. A private tier has one for its whole life.
    pub(crate) fn link(&self) -> u64 {
        self.as_shared().map_or(0, SharedTier::link)
    }
}
