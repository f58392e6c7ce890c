//! Successes and failures of a tier's operations. A store can answer a ping and still fail every
//! read, lease or fill.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::Refusal;
use crate::error::Error;

/// From this many failures in a row on, without a success between them, the tier is at fault and
/// not single calls.
const FAILING: u32 = 5;

/// Watches the operations on a tier, of all functions.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    reads: Streak,
    leases: Streak,
    fills: Streak,
}

/// Failures in a row of one kind of operation.
#[derive(Debug, Default)]
struct Streak {
    /// Relaxed: it orders nothing else. A failure that is counted late is reported late.
    failures: AtomicU32,
    /// The link over which the last operation failed, and the error.
    last: Mutex<Option<(u64, String)>>,
}

/// A kind of operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Operation {
    Read,
    Lease,
    Fill,
}

impl Operation {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Lease => "lease",
            Self::Fill => "fill",
        }
    }
}

impl Watch {
    pub(crate) fn succeeded(&self, operation: Operation) {
        let failures = &self.streak(operation).failures;
        // Not written at each success, because all threads share the counter.
        if failures.load(Ordering::Relaxed) != 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Notes an operation that failed, and the number of the link over which it was sent.
    pub(crate) fn failed(&self, operation: Operation, link: u64, error: &Error) {
        self.streak(operation).note(link, || format!("{error:?}"));
    }

    /// Notes a fill that was refused. A fill of a key that is guarded, or has a pending
    /// invalidation, does not count: it must be refused.
    pub(crate) fn refused(&self, link: u64, refusal: Refusal) {
        match refusal {
            Refusal::Guard | Refusal::Queued => {}
            Refusal::Lease | Refusal::Function | Refusal::History | Refusal::Link => {
                self.fills.note(link, || format!("refused ({refusal:?})"));
            }
        }
    }

    /// Returns the last errors of a tier, if its operations keep failing over the link with this
    /// number.
    pub(crate) fn last_error(&self, link: u64) -> Option<String> {
        let kinds = [
            ("reads", &self.reads),
            ("leases", &self.leases),
            ("fills", &self.fills),
        ];
        let errors: Vec<String> = kinds
            .into_iter()
            .filter_map(|(what, streak)| {
                let failures = streak.failures.load(Ordering::Relaxed);
                let last = streak.last.lock().unwrap_or_else(PoisonError::into_inner);
                let (over, why) = last.as_ref()?;
                let is_failing = failures >= FAILING && *over == link;
                is_failing.then(|| format!("the last {failures} {what} failed: {why}"))
            })
            .collect();
        (!errors.is_empty()).then(|| errors.join("; "))
    }

    fn streak(&self, operation: Operation) -> &Streak {
        match operation {
            Operation::Read => &self.reads,
            Operation::Lease => &self.leases,
            Operation::Fill => &self.fills,
        }
    }
}

impl Streak {
    fn note(&self, link: u64, why: impl FnOnce() -> String) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same_link = last.as_ref().is_some_and(|(over, _)| *over == link);
        match is_same_link {
            true => self.failures.fetch_add(1, Ordering::Relaxed),
            false => self.failures.swap(1, Ordering::Relaxed),
        };
        *last = Some((link, why()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorKind;

    #[test]
    fn failures_in_a_row_are_reported_until_a_success_or_another_link() {
        let watch = Watch::default();
        let error = Error::new(ErrorKind::Unavailable, "no history");
        let fail = |link, times| {
            for _ in 0..times {
                watch.failed(Operation::Lease, link, &error);
            }
        };
        fail(1, FAILING - 1);
        assert_eq!(watch.last_error(1), None);
        fail(1, 1);
        let last_error = watch.last_error(1).unwrap();
        assert!(
            last_error.contains("leases") && last_error.contains("no history"),
            "{last_error}"
        );
        assert_eq!(watch.last_error(2), None, "another link");
        watch.succeeded(Operation::Read);
        assert!(watch.last_error(1).is_some(), "a read is no lease");
        watch.succeeded(Operation::Lease);
        assert_eq!(watch.last_error(1), None);
        fail(1, FAILING);
        fail(2, 1);
        assert_eq!((watch.last_error(1), watch.last_error(2)), (None, None));
        for refusal in [Refusal::Guard, Refusal::Queued, Refusal::Lease] {
            for _ in 0..FAILING {
                watch.refused(3, refusal);
            }
            assert_eq!(watch.last_error(3).is_some(), refusal == Refusal::Lease);
        }
    }
}
