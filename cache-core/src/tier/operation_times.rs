//! How long the operations on a store took, for all functions together.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::lease::Guard;
use super::operation::Receipt;
use super::watch::Operation;
use crate::clock::{Clock, Moment};
use crate::error::{Error, ErrorKind};
use crate::level::Level;
use crate::metrics::{Observers, families};
use crate::stats::{Histogram, LiveHistogram};

/// The times of the operations on one store, which are recorded into.
///
/// An operation whose caller is dropped while it runs has no result, and is not recorded.
#[derive(Debug)]
pub(crate) struct LiveOperationTimes {
    clock: Clock,
    read: LiveResultTimes,
    lease: LiveResultTimes,
    fill: LiveResultTimes,
    invalidate: LiveResultTimes,
    /// Set once, when the runtime is built.
    observed: OnceLock<Observed>,
}

/// The tier as observers know it.
#[derive(Debug)]
struct Observed {
    level: Level,
    kind: &'static str,
    observers: Arc<Observers>,
}

#[derive(Debug, Default)]
struct LiveResultTimes {
    ok: LiveHistogram,
    error: LiveHistogram,
    timeout: LiveHistogram,
}

impl LiveOperationTimes {
    pub(crate) fn new(clock: Clock) -> Self {
        Self {
            clock,
            read: LiveResultTimes::default(),
            lease: LiveResultTimes::default(),
            fill: LiveResultTimes::default(),
            invalidate: LiveResultTimes::default(),
            observed: OnceLock::new(),
        }
    }

    /// Reports operations to observers from now on, as those of the tier at `level`.
    pub(super) fn report_to(&self, level: Level, kind: &'static str, observers: Arc<Observers>) {
        // A second call has no effect; the runtime makes one.
        let _ = self.observed.set(Observed {
            level,
            kind,
            observers,
        });
    }

    /// Returns the moment at which an operation begins.
    pub(crate) fn begin(&self) -> Moment {
        self.clock.fine()
    }

    /// Returns the time since an operation began.
    pub(crate) fn since(&self, began: Moment) -> Duration {
        self.clock.fine().since(began)
    }

    /// Records an operation that ends now. Returns how long it took.
    pub(crate) fn ended(
        &self,
        operation: Operation,
        began: Moment,
        error: Option<&Error>,
    ) -> Duration {
        let took = self.since(began);
        let times = match operation {
            Operation::Read => &self.read,
            Operation::Lease => &self.lease,
            Operation::Fill => &self.fill,
        };
        self.record(operation.name(), times, OperationResult::of(error), took);
        took
    }

    /// Records an invalidation that ends now. One that is queued has failed: the store has not
    /// acknowledged it.
    pub(crate) fn invalidated(&self, began: Moment, result: &Result<Receipt, Error>) {
        let took = self.since(began);
        let result = match result {
            Ok(Receipt::Acked) => OperationResult::Ok,
            Ok(Receipt::Queued) => OperationResult::Error,
            Err(error) => OperationResult::of(Some(error)),
        };
        self.record("invalidate", &self.invalidate, result, took);
    }

    /// Records a write guard whose placement ends now. It invalidates its key, so it is recorded as
    /// an invalidation. One that the store is not known to have has failed.
    pub(crate) fn guarded(&self, began: Moment, result: &Result<Guard, Error>) {
        let took = self.since(began);
        let result = match result {
            Ok(guard) if guard.is_placed() => OperationResult::Ok,
            Ok(_) => OperationResult::Error,
            Err(error) => OperationResult::of(Some(error)),
        };
        self.record("invalidate", &self.invalidate, result, took);
    }

    fn record(
        &self,
        operation: &'static str,
        times: &LiveResultTimes,
        result: OperationResult,
        took: Duration,
    ) {
        times.of(result).record(took);
        if let Some(observed) = self.observed.get() {
            let Observed {
                level,
                kind,
                observers,
            } = observed;
            let attributes = [level.name(), *kind, operation, result.name()];
            observers.observe(&families::TIER_OPERATION_DURATION, &attributes, took);
        }
    }

    /// Returns what was recorded so far.
    pub(crate) fn snapshot(&self) -> OperationTimes {
        OperationTimes {
            read: self.read.snapshot(),
            lease: self.lease.snapshot(),
            fill: self.fill.snapshot(),
            invalidate: self.invalidate.snapshot(),
        }
    }
}

/// How an operation ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OperationResult {
    Ok,
    Error,
    Timeout,
}

impl OperationResult {
    fn of(error: Option<&Error>) -> Self {
        match error.map(Error::kind) {
            None => Self::Ok,
            Some(ErrorKind::TimedOut) => Self::Timeout,
            Some(_) => Self::Error,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Timeout => "timeout",
        }
    }
}

impl LiveResultTimes {
    fn of(&self, result: OperationResult) -> &LiveHistogram {
        match result {
            OperationResult::Ok => &self.ok,
            OperationResult::Error => &self.error,
            OperationResult::Timeout => &self.timeout,
        }
    }

    fn snapshot(&self) -> ResultTimes {
        ResultTimes {
            ok: self.ok.snapshot(),
            error: self.error.snapshot(),
            timeout: self.timeout.snapshot(),
        }
    }
}

/// How long the operations on a tier took, for all functions together. An operation on several keys
/// counts once.
///
/// Operations are recorded when they end. One whose caller is dropped before is not recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct OperationTimes {
    /// Reads of records. A record is read on a miss in memory; a tier that has none has answered.
    pub read: ResultTimes,
    /// Requests for a lease. A tier that refuses one, or says that another caller holds it, has
    /// answered.
    pub lease: ResultTimes,
    /// Fills, which store a record. A tier that refuses one has answered.
    pub fill: ResultTimes,
    /// Invalidations and expiries of keys, functions and tags, and write guards, which invalidate
    /// their key when they are placed. Invalidations by a pattern take as long as the scan of all
    /// keys, and are not recorded.
    pub invalidate: ResultTimes,
}

/// How long the operations of one kind took, by result.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct ResultTimes {
    /// Operations that the store has answered.
    pub ok: Histogram,
    /// Operations that failed, on several keys also if only some of them did. An invalidation that
    /// was queued has failed, as has a write guard that could not be placed.
    pub error: Histogram,
    /// Operations that had no answer within the time limit.
    pub timeout: Histogram,
}

impl OperationTimes {
    /// Returns the operations with their names, in the order of a call.
    pub(crate) fn named(&self) -> [(&'static str, &ResultTimes); 4] {
        [
            ("read", &self.read),
            ("lease", &self.lease),
            ("fill", &self.fill),
            ("invalidate", &self.invalidate),
        ]
    }
}

impl ResultTimes {
    /// Returns the histograms with the names of the results.
    pub(crate) fn named(&self) -> [(&'static str, &Histogram); 3] {
        let results = [
            OperationResult::Ok,
            OperationResult::Error,
            OperationResult::Timeout,
        ];
        let [ok, error, timeout] = results.map(OperationResult::name);
        [
            (ok, &self.ok),
            (error, &self.error),
            (timeout, &self.timeout),
        ]
    }

    /// Returns the number of operations.
    #[must_use]
    pub fn count(&self) -> u64 {
        let all = [&self.ok, &self.error, &self.timeout];
        let counts = all.into_iter().map(Histogram::count);
        counts.fold(0, u64::saturating_add)
    }
}
