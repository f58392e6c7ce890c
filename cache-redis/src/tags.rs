//! Sends invalidations of tags, and expiries: those of a call, and the queued ones.

use std::fmt::Write;
use std::iter;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::Target;
use redis::RedisError;
use tokio::time::timeout;

use crate::commands;
use crate::commands::ledger::{BeginLedger, Count, Entry, MOST_DIGESTS};
use crate::errors;
use crate::journal::Invalidated;
use crate::ledger::Kind;
use crate::mirror::{Change, Event};
use crate::number::fresh_number;
use crate::session::{Link, RedisSession};

impl RedisSession {
    /// Counts digests in the ledger, in one step for each [`MOST_DIGESTS`]. When this returns, this
    /// instance judges records by the entries, although their messages may not have arrived. `what`
    /// makes the text for the audit.
    pub(crate) async fn count(
        &self,
        link: &Link,
        entry: Entry<'_>,
        digests: &[u64],
        what: impl Fn(&[u64]) -> String,
    ) -> Result<(), RedisError> {
        let kind = match entry {
            Entry::Invalidated => Kind::Invalidated,
            Entry::Expired { .. } => Kind::Expired,
        };
        for portion in digests.chunks(MOST_DIGESTS) {
            let audit = self.settings.audit.as_ref();
            let what = audit.map(|_| what(portion)).unwrap_or_default();
            let count = Count {
                entry,
                digests: portion,
                fresh_base: fresh_number(),
                audit: audit.map(|audit| (audit, &*what)),
            };
            let counted = commands::send(&mut link.data.clone(), &self.keys, count).await?;
            let event = Event {
                base: counted.base,
                change: Change::Entry(kind, counted.number),
            };
            self.bus.mirror.apply(event, portion.iter().copied());
            self.bus.mirror.announce();
        }
        Ok(())
    }

    /// Invalidates all tags.
    async fn begin_ledger(&self, link: &Link) -> Result<(), RedisError> {
        let base = fresh_number();
        let audit = self.settings.audit.as_ref();
        let begin = BeginLedger {
            base,
            audit: audit.map(|audit| (audit, "tags")),
        };
        commands::send(&mut link.data.clone(), &self.keys, begin).await?;
        let change = Change::Begun;
        self.bus.mirror.apply(Event { base, change }, iter::empty());
        self.bus.mirror.announce();
        Ok(())
    }

    /// Sends the queued tags. Returns the number of those that the server refused, which stay
    /// queued. Each portion must be acknowledged within `limit`.
    pub(crate) async fn flush_tags(&self, link: &Link, limit: Duration) -> Result<usize, Error> {
        let Some((queued, number)) = self.journal.queued_tags() else {
            return Ok(0);
        };
        let Invalidated::Tags(tags) = &queued else {
            let begun = self.sent(link, limit, self.begin_ledger(link)).await?;
            if begun {
                self.bus.peers.invalidated_all_tags();
                // Tiers above cannot drop all tags alone.
                self.bus.peers.done_late(Target::All);
                self.counters.replayed(1);
                self.journal.all_tags_sent(number);
            }
            return Ok(usize::from(!begun));
        };
        let mut refused = 0;
        for portion in tags.chunks(MOST_DIGESTS) {
            let count = self.count(link, Entry::Invalidated, portion, tags_in_audit);
            if self.sent(link, limit, count).await? {
                let peers = &self.bus.peers;
                // After the copy of the ledger has the entry, and before the tags are no longer
                // pending.
                portion.iter().for_each(|tag| peers.invalidated_tag(*tag));
                peers.tags_done_late(portion);
                self.counters.replayed(portion.len());
                self.journal.tags_sent(portion, number);
            } else {
                refused += portion.len();
            }
        }
        Ok(refused)
    }

    /// Waits for the reply to a portion. Returns `false` if the server refused it for now.
    ///
    /// # Errors
    /// There is no reply, or the link is lost: another server may have taken over, and may have
    /// received the queue before this portion was noted as sent.
    async fn sent(
        &self,
        link: &Link,
        limit: Duration,
        sending: impl Future<Output = Result<(), RedisError>>,
    ) -> Result<bool, Error> {
        let failed = |error| errors::failed("send queued invalidations of tags", error);
        let sent = timeout(limit, sending).await;
        let sent = sent.unwrap_or_else(|_| Err(errors::no_reply()));
        if self.link.is_lost(link.number) {
            return Err(failed(errors::no_reply()));
        }
        match sent {
            Ok(()) => Ok(true),
            Err(error) if errors::is_fatal(&error) => Err(failed(error)),
            Err(error) => {
                tracing::debug!(target: "multi_tier_cached::redis", shard = self.shard_in_log(), error = ?error, "the server refuses an invalidation of tags for now");
                Ok(false)
            }
        }
    }
}

/// The text of invalidated tags in the audit, which knows their digests only.
pub(crate) fn tags_in_audit(tags: &[u64]) -> String {
    let mut text = "tags".to_owned();
    for tag in tags {
        // Writing to memory does not fail.
        let _ = write!(text, " {tag:016x}");
    }
    text
}
