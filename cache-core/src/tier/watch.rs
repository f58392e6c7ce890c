//! Counts consecutive failures of a tier's operations. A store can answer a ping and still fail
//! every read, lease or fill.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::error::Error;
use crate::stats::Refusal;

/// The number of consecutive failures from which on the tier has a problem, not single calls.
const MIN_FAILURES: u32 = 5;

/// The results of the operations on a tier, for all functions together.
#[derive(Debug, Default)]
pub(crate) struct Watch {
    reads: Streak,
    leases: Streak,
    fills: Streak,
}

/// The consecutive failures of one kind of operation.
#[derive(Debug, Default)]
struct Streak {
    /// Relaxed: it orders no other memory, and a failure that is counted late is only reported
    /// late.
    failures: AtomicU32,
    /// The link over which the last operation failed, and the reason.
    last: Mutex<Option<(u64, String)>>,
}

/// A kind of operation of a call on a tier.
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
    /// Notes an operation that succeeded.
    pub(crate) fn succeeded(&self, operation: Operation) {
        let failures = &self.streak(operation).failures;
        // Written only if it changes, because all threads share the cache line.
        if failures.load(Ordering::Relaxed) != 0 {
            failures.store(0, Ordering::Relaxed);
        }
    }

    /// Notes an operation that failed over the link with this number.
    pub(crate) fn failed(&self, operation: Operation, link: u64, error: &Error) {
        self.streak(operation).note(link, || format!("{error:?}"));
    }

    /// Notes a refused fill. A refusal is no failure if the key is guarded or has a pending
    /// invalidation.
    pub(crate) fn refused(&self, link: u64, refusal: Refusal) {
        match refusal {
            // Nor if the store cannot keep the value at all.
            Refusal::Guard | Refusal::Queued | Refusal::Tags => {}
            Refusal::Lease | Refusal::Function | Refusal::History | Refusal::Link => {
                self.fills.note(link, || format!("refused ({refusal:?})"));
            }
        }
    }

    /// Describes the consecutive failures over the link with this number, if there are many.
    pub(crate) fn last_error(&self, link: u64) -> Option<String> {
        let kinds = [
            ("reads", &self.reads),
            ("leases", &self.leases),
            ("fills", &self.fills),
        ];
        let problems: Vec<String> = kinds
            .into_iter()
            .filter_map(|(what, streak)| {
                let failures = streak.failures.load(Ordering::Relaxed);
                let last = streak.last.lock().unwrap_or_else(PoisonError::into_inner);
                let (over, why) = last.as_ref()?;
                let is_problem = failures >= MIN_FAILURES && *over == link;
                is_problem.then(|| format!("the last {failures} {what} failed: {why}"))
            })
            .collect();
        (!problems.is_empty()).then(|| problems.join("; "))
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
    fn consecutive_failures_over_one_link_are_reported_until_a_success_or_another_link() {
        let watch = Watch::default();
        let error = Error::new(ErrorKind::Unavailable, "no history");
        let fail = |link, times| {
            for _ in 0..times {
                watch.failed(Operation::Lease, link, &error);
            }
        };
        fail(1, MIN_FAILURES - 1);
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
        fail(1, MIN_FAILURES);
        fail(2, 1);
        assert_eq!((watch.last_error(1), watch.last_error(2)), (None, None));
        for refusal in [Refusal::Guard, Refusal::Queued, Refusal::Lease] {
            for _ in 0..MIN_FAILURES {
                watch.refused(3, refusal);
            }
            assert_eq!(watch.last_error(3).is_some(), refusal == Refusal::Lease);
        }
    }
}
