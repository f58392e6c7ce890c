//! The ledger of a store that one process uses.

use std::collections::HashMap;
use std::future::ready;
use std::sync::Mutex;
use std::time::Duration;

use super::epochs::fresh_epoch;
use super::lock::lock;
use crate::tier::key::RecordKey;
use crate::tier::lease::LeaseResult;
use crate::tier::ledger::{Expiry, Ledger, Mark, Marks, MarksState};
use crate::tier::operation::TierFuture;

/// The greatest number of tags and expiries in a ledger. If there are more, it begins again with
/// another base, which invalidates all records with tags.
const MAX_ENTRIES: usize = 1 << 16;

/// The [`Ledger`] of a store that one process uses, in memory.
///
/// The tier [marks](Self::mark_lease) the leases that it grants. A tier whose records are void
/// after the process has ended needs no more than this:
///
/// ```
/// use cache_core::tier::kit::LocalLedger;
/// use cache_core::tier::{Marks, MarksState};
///
/// let ledger = LocalLedger::default();
/// let marks = Marks {
///     mark: ledger.mark(),
///     tags: &[1, 2],
///     key: 3,
///     function: 4,
/// };
/// assert_eq!(ledger.judge(marks), MarksState::Valid);
/// ledger.invalidate_tags(&[2]);
/// assert_eq!(ledger.judge(marks), MarksState::Invalidated);
/// ```
///
/// A store whose records outlive the process writes each change down before the change takes
/// effect: [`change`](Self::change) or [`begin_again`](Self::begin_again) makes it, and
/// [`apply`](Self::apply) is called when it is written. So no lease ever carries a number that a
/// crash could undo, and that would then be given to another invalidation. While a change is being
/// written, its tags and expiries are
/// [pending](super::PendingInvalidations::add_tags).
///
/// The ledger has at most 65,536 tags and expiries. With more it begins again with another base:
/// all records with tags are invalidated, and all others that carry marks are expired.
#[derive(Debug, Default)]
pub struct LocalLedger {
    /// Held for a few instructions only, never across an `.await`.
    contents: Mutex<LedgerContents>,
}

/// Contents of a [`LocalLedger`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store writes down all of it")]
pub struct LedgerContents {
    /// The base, and the number of the last invalidation or expiry.
    pub mark: Mark,
    /// The number of the last invalidation of each tag, by digest.
    pub tags: HashMap<u64, u64>,
    /// The number of the last expiry of each key, function and tag, by digest.
    pub expiries: HashMap<u64, u64>,
}

impl Default for LedgerContents {
    /// An empty ledger with a base of its own.
    fn default() -> Self {
        Self {
            mark: Mark {
                // Zero is no base.
                base: fresh_epoch().max(1),
                number: 0,
            },
            tags: HashMap::new(),
            expiries: HashMap::new(),
        }
    }
}

/// A change of a [`LocalLedger`], to be written down before it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a store writes down all of it")]
pub struct LedgerChange<'a> {
    /// The base and the number of the ledger after the change.
    pub mark: Mark,
    /// `true` if the ledger begins again: everything that it had is removed.
    pub begins_again: bool,
    /// The digests of the tags that are invalidated under the number.
    pub tags: &'a [u64],
    /// The digests of the keys, functions and tags that are expired under the number.
    pub expiries: &'a [u64],
}

impl LedgerContents {
    fn change<'a>(&self, tags: &'a [u64], expiries: &'a [u64]) -> LedgerChange<'a> {
        let entries = [self.tags.len(), self.expiries.len(), tags.len()];
        if entries.iter().sum::<usize>() + expiries.len() > MAX_ENTRIES {
            return LedgerChange::begin_again();
        }
        LedgerChange {
            mark: Mark {
                number: self.mark.number + 1,
                ..self.mark
            },
            begins_again: false,
            tags,
            expiries,
        }
    }

    fn apply(&mut self, change: &LedgerChange<'_>) {
        let LedgerChange {
            mark,
            begins_again,
            tags,
            expiries,
        } = *change;
        if begins_again {
            *self = Self::default();
        }
        self.mark = mark;
        let numbered = |digest: &u64| (*digest, mark.number);
        self.tags.extend(tags.iter().map(numbered));
        self.expiries.extend(expiries.iter().map(numbered));
    }

    fn judge(&self, marks: Marks<'_>) -> MarksState {
        let Mark { base, number } = marks.mark;
        // A number that was not reached is from a ledger whose end was lost.
        if base != self.mark.base || number > self.mark.number {
            // Keys and functions are not invalidated by the ledger, so without tags only an expiry
            // can be unknown.
            return match marks.tags.is_empty() && base != 0 {
                true => MarksState::Expired,
                false => MarksState::Invalidated,
            };
        }
        let is_after = |of: &HashMap<u64, u64>, digest: &u64| {
            !of.is_empty() && of.get(digest).is_some_and(|last| *last > number)
        };
        if marks.tags.iter().any(|tag| is_after(&self.tags, tag)) {
            return MarksState::Invalidated;
        }
        let subjects = [&marks.key, &marks.function];
        let mut subjects = subjects.into_iter().chain(marks.tags);
        match subjects.any(|digest| is_after(&self.expiries, digest)) {
            true => MarksState::Expired,
            false => MarksState::Valid,
        }
    }
}

impl LedgerChange<'static> {
    fn begin_again() -> Self {
        Self {
            mark: LedgerContents::default().mark,
            begins_again: true,
            tags: &[],
            expiries: &[],
        }
    }
}

impl LocalLedger {
    /// Returns the mark for a lease that is granted now.
    #[must_use]
    pub fn mark(&self) -> Mark {
        lock(&self.contents).mark
    }

    /// Adds the mark to the lease, if it was granted for a key of a marked function.
    #[must_use]
    pub fn mark_lease(&self, key: &RecordKey, leased: LeaseResult) -> LeaseResult {
        match leased {
            LeaseResult::Granted(lease) if key.function.is_marked => {
                LeaseResult::Granted(lease.with_mark(self.mark()))
            }
            leased => leased,
        }
    }

    /// Judges a record.
    #[must_use]
    pub fn judge(&self, marks: Marks<'_>) -> MarksState {
        lock(&self.contents).judge(marks)
    }

    /// Invalidates tags, by their digests, in one step.
    pub fn invalidate_tags(&self, tags: &[u64]) {
        self.change_and_apply(tags, &[]);
    }

    /// Expires values, in one step.
    pub fn expire(&self, target: Expiry<'_>) {
        self.change_and_apply(&[], target.digests());
    }

    fn change_and_apply(&self, tags: &[u64], expiries: &[u64]) {
        let mut contents = lock(&self.contents);
        let change = contents.change(tags, expiries);
        contents.apply(&change);
    }

    /// Makes the change that invalidates tags and expires keys, functions and tags, by their
    /// digests. It has no effect until it is [applied](Self::apply). If the ledger would have too
    /// many entries, the change [begins again](Self::begin_again).
    ///
    /// Changes are made and applied by one caller at a time.
    #[must_use]
    pub fn change<'a>(&self, tags: &'a [u64], expiries: &'a [u64]) -> LedgerChange<'a> {
        lock(&self.contents).change(tags, expiries)
    }

    /// Makes the change after which all records with tags are invalidated, and all others that
    /// carry marks are expired: another base.
    #[must_use]
    pub fn begin_again(&self) -> LedgerChange<'static> {
        LedgerChange::begin_again()
    }

    /// Applies a change that is written down.
    pub fn apply(&self, change: &LedgerChange<'_>) {
        lock(&self.contents).apply(change);
    }

    /// Replaces everything by what a store has written down.
    pub fn replace(&self, contents: LedgerContents) {
        let replaced = std::mem::replace(&mut *lock(&self.contents), contents);
        // Freed after the lock was released.
        drop(replaced);
    }
}

impl Ledger for LocalLedger {
    fn enable(&self) {}

    fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        Some(self.judge(marks))
    }

    fn state_in_store<'a>(&'a self, marks: Marks<'a>, _: Duration) -> TierFuture<'a, MarksState> {
        Box::pin(ready(Ok(self.judge(marks))))
    }

    fn is_pending(&self, _: &[u64]) -> bool {
        false
    }
}

#[cfg(test)]
mod tests;
