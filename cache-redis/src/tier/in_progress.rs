//! An invalidation in progress, which is queued if its outcome is unknown.

use std::sync::Arc;

use cache_core::tier::Receipt;
use cache_core::{Error, ErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::journal::{Invalidated, Writer};
use crate::session::RedisSession;

/// An invalidation in progress. If it is dropped, it is queued, because its outcome is unknown.
pub(super) struct InProgress<'a> {
    session: &'a RedisSession,
    invalidated: Option<Invalidated>,
    /// When the invalidation must have returned: an attempt to send it may take the time limit, and
    /// writing it to the journal's file the rest.
    deadline: Instant,
    /// Keeps the journal's file open until it is known whether the invalidation is queued.
    _file: Option<Arc<Writer>>,
}

impl<'a> InProgress<'a> {
    /// # Errors
    /// The tier was shut down.
    pub(super) fn begin(
        session: &'a RedisSession,
        invalidated: Invalidated,
    ) -> Result<Self, Error> {
        if session.link.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "invalidate: the tier was shut down",
            ));
        }
        Ok(Self {
            session,
            invalidated: Some(invalidated),
            deadline: Instant::now() + session.settings.time_limit * 2,
            _file: session.journal.keep_file(),
        })
    }

    /// Ends it by its outcome: the number of the link over which it was acknowledged, or the reason
    /// why it was not.
    pub(super) async fn end(self, sent: Result<u64, Error>) -> Receipt {
        match sent {
            Ok(link) => {
                self.acknowledged(link);
                Receipt::Acked
            }
            Err(error) => {
                self.failed(&error);
                self.queue().await;
                Receipt::Queued
            }
        }
    }

    /// Reports why it is queued: one warning for an outage, however many are queued in it.
    fn failed(&self, error: &Error) {
        let session = self.session;
        if session.journal.len() == 0 {
            tracing::warn!(
                target: "multi_tier_cached::redis",
                shard = session.shard_in_log(),
                address = session.tried(),
                error = ?error,
                "an invalidation could not be sent to Redis and is queued; until it is sent, other instances may answer with the old value"
            );
        } else {
            tracing::debug!(target: "multi_tier_cached::redis", shard = session.shard_in_log(), error = ?error, "an invalidation is queued");
        }
    }

    /// Queues it, and waits for the journal's file within the time limit.
    async fn queue(mut self) {
        if let Some(invalidated) = self.invalidated.take() {
            let written = self.session.journal.queue_and_write(invalidated);
            if timeout_at(self.deadline, written).await.is_err() {
                tracing::error!(
                    target: "multi_tier_cached::redis",
                    "a queued invalidation is not in the journal's file yet: the disk does not respond in time"
                );
            }
        }
    }

    /// Notes that it was acknowledged over the link with that number. If that link has been lost,
    /// the next server may have received the queue before this was noted, so it is queued again.
    fn acknowledged(mut self, link: u64) {
        if let Some(invalidated) = self.invalidated.take() {
            self.session.journal.acknowledged(&invalidated);
            if !self.session.link.is_current(link) {
                self.session.journal.queue(invalidated);
            }
        }
    }
}

impl Drop for InProgress<'_> {
    fn drop(&mut self) {
        if let Some(invalidated) = self.invalidated.take() {
            self.session.journal.queue(invalidated);
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Level;
    use cache_core::tier::{FunctionKey, Peers, Target, TierContext};

    use super::*;

    /// The link is lost between the server's reply and its processing here, so the next server may
    /// have received the queue without this invalidation.
    #[test]
    fn invalidation_acknowledged_over_a_lost_link_is_queued_again() {
        let context = TierContext::new(Level::L2, Peers::none());
        let redis = crate::Redis::new("redis://127.0.0.1:1");
        let tier = redis.tiers(&[context]).unwrap().remove(0);
        let function = FunctionKey::new("f", 1);
        let function = Invalidated::of(Target::Function(&function));
        for (at, invalidated) in [function, Invalidated::Tags(vec![7])]
            .into_iter()
            .enumerate()
        {
            let in_progress = InProgress::begin(&tier.session, invalidated).unwrap();
            in_progress.acknowledged(1);
            assert_eq!(tier.session.journal.len(), at + 1);
        }
        assert!(tier.session.journal.covers_tags(&[7]));
    }
}
