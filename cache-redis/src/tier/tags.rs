//! Tags and expiries: invalidates by tag, expires, and judges records by the ledger.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{Expiry, Ledger, Marks, MarksState, Receipt, Target, TierFuture};

use super::in_progress::InProgress;
use crate::commands::ledger::Entry;
use crate::commands::ledger_read;
use crate::journal::Invalidated;
use crate::ledger;
use crate::session::RedisSession;
use crate::tags::tags_in_audit;

impl RedisSession {
    pub(super) async fn invalidate_tags(
        &self,
        tags: &[u64],
        within: Duration,
    ) -> Result<Receipt, Error> {
        if tags.is_empty() {
            return Ok(Receipt::Acked);
        }
        let in_progress = InProgress::begin(self, Invalidated::Tags(tags.to_vec()))?;
        let sent = self
            .run("invalidate tags", within, |link| async move {
                let entry = Entry::Invalidated;
                self.count(&link, entry, tags, tags_in_audit).await?;
                Ok(link.number)
            })
            .await;
        Ok(in_progress.end(sent).await)
    }

    /// Expires. What cannot be sent is queued as an invalidation: the values must not be returned
    /// as fresh ones, and the journal need not know for how long they may be stale.
    pub(super) async fn expire(
        &self,
        target: Expiry<'_>,
        within: Duration,
    ) -> Result<Receipt, Error> {
        if let Expiry::Tags([]) = target {
            return Ok(Receipt::Acked);
        }
        let (invalidated, lease) = match target {
            Expiry::Key(key) => {
                let lease = self.keys.lease(key);
                (Invalidated::of(Target::Key(key)), Some(lease))
            }
            Expiry::Function(function) => (Invalidated::of(Target::Function(function)), None),
            Expiry::Tags(tags) => (Invalidated::Tags(tags.to_vec()), None),
        };
        let what = |digests: &[u64]| match target {
            Expiry::Key(key) => format!("expired {}", key.name()),
            Expiry::Function(function) => format!("expired {}", function.versioned()),
            Expiry::Tags(_) => format!("expired {}", tags_in_audit(digests)),
        };
        let in_progress = InProgress::begin(self, invalidated)?;
        let lease = lease.as_deref();
        let sent = self
            .run("expire", within, |link| async move {
                let entry = Entry::Expired { lease };
                self.count(&link, entry, target.digests(), what).await?;
                Ok(link.number)
            })
            .await;
        Ok(in_progress.end(sent).await)
    }

    /// Judges a record by the ledger in the store. A reply with another base than that of the copy
    /// drops the copy.
    async fn judge(&self, marks: Marks<'_>, within: Duration) -> Result<MarksState, Error> {
        // Before the ledger is read, and after it: a queued invalidation may be sent in between.
        if self.journal.covers_tags(marks.tags) {
            return Ok(MarksState::Invalidated);
        }
        let ledger = self
            .run("read the ledger", within, |mut link| async move {
                ledger_read::of_record(&mut link.data, &self.keys, marks).await
            })
            .await?;
        if self.journal.covers_tags(marks.tags) {
            return Ok(MarksState::Invalidated);
        }
        Ok(match ledger {
            Some(ledger) => {
                self.bus.mirror.learn(&ledger);
                ledger.judge(marks)
            }
            None => ledger::unknown(marks),
        })
    }

    /// Judges a record as [`judge`](Self::judge) does, and leaves the link and the copy of the
    /// ledger as they are.
    async fn judge_for_operator(
        &self,
        marks: Marks<'_>,
        within: Duration,
    ) -> Result<MarksState, Error> {
        let ledger = self
            .inspecting("read the ledger", within, |mut link| async move {
                ledger_read::of_record(&mut link.data, &self.keys, marks).await
            })
            .await?;
        if self.journal.covers_tags(marks.tags) {
            return Ok(MarksState::Invalidated);
        }
        Ok(ledger.map_or_else(|| ledger::unknown(marks), |ledger| ledger.judge(marks)))
    }
}

impl Ledger for RedisSession {
    fn enable(&self) {
        self.bus.mirror.enable();
    }

    fn state(&self, marks: Marks<'_>) -> Option<MarksState> {
        if self.journal.covers_tags(marks.tags) {
            return Some(MarksState::Invalidated);
        }
        // In the other order, an entry could arrive after the copy was asked, and coherence could
        // be found afterwards.
        let is_coherent = self.bus.coherence.holds();
        is_coherent.then(|| self.bus.mirror.state(marks)).flatten()
    }

    fn state_in_store<'a>(
        &'a self,
        marks: Marks<'a>,
        within: Duration,
    ) -> TierFuture<'a, MarksState> {
        Box::pin(self.judge(marks, within))
    }

    fn inspect<'a>(&'a self, marks: Marks<'a>, within: Duration) -> TierFuture<'a, MarksState> {
        Box::pin(self.judge_for_operator(marks, within))
    }

    fn is_pending(&self, tags: &[u64]) -> bool {
        self.journal.covers_tags(tags)
    }
}
