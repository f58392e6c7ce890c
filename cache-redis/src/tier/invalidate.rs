//! Invalidates a target, and queues the invalidation if its outcome is unknown.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::kit::OwnedTarget;
use cache_core::tier::{Receipt, Target};
use cache_core::{Error, ErrorKind};
use tokio::time::{Instant, timeout_at};

use crate::commands::invalidate::InvalidatedKey;
use crate::journal::Writer;
use crate::session::RedisSession;

impl RedisSession {
    pub(super) async fn invalidate(
        &self,
        target: Target<'_>,
        within: Duration,
    ) -> Result<Receipt, Error> {
        if self.link.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "invalidate: the tier was shut down",
            ));
        }
        let pending = PendingInvalidation::begin(self, target);
        self.forget_epoch(target);
        let sent = self
            .run("invalidate", within, |link| async move {
                let running = link.batches.begin();
                // The audit has an entry for each invalidation.
                let is_plain = self.settings.audit.is_none();
                match (target, running.place().filter(|_| is_plain)) {
                    (Target::Key(key), Some(place)) => {
                        let key = InvalidatedKey {
                            record: self.keys.record(key),
                            digest: key.digest,
                        };
                        place.invalidate(key).await?;
                    }
                    _ => self.send_invalidation(&link, target).await?,
                }
                Ok(link.number)
            })
            .await;
        self.forget_epoch(target);
        match sent {
            Ok(number) => {
                pending.acknowledged(number);
                Ok(Receipt::Acked)
            }
            Err(error) => {
                // One warning for an outage, however many invalidations are queued in it.
                if self.journal.len() == 0 {
                    tracing::warn!(
                        shard = self.shard_in_log(),
                        address = self.tried(),
                        error = ?error,
                        "an invalidation could not be sent to Redis and is queued; until it is sent, other instances may answer with the old value"
                    );
                } else {
                    tracing::debug!(shard = self.shard_in_log(), error = ?error, "an invalidation is queued");
                }
                pending.queue().await;
                Ok(Receipt::Queued)
            }
        }
    }

    /// Forgets the epoch of a function that is invalidated. This happens before and after the
    /// command, because a reply in between may still carry the old epoch.
    fn forget_epoch(&self, target: Target<'_>) {
        match target {
            Target::Function(function) => self.bus.epochs.forget(function.digest),
            Target::Key(_) | Target::All => {}
        }
    }
}

/// An invalidation in progress. If it is dropped, it is queued, because its outcome is unknown.
struct PendingInvalidation<'a> {
    session: &'a RedisSession,
    target: Option<OwnedTarget>,
    /// When the invalidation must have returned: an attempt to send it may take the time limit, and
    /// writing it to the journal's file the rest.
    deadline: Instant,
    /// Keeps the journal's file open until it is known whether the invalidation is queued.
    _file: Option<Arc<Writer>>,
}

impl<'a> PendingInvalidation<'a> {
    fn begin(session: &'a RedisSession, target: Target<'_>) -> Self {
        Self {
            session,
            target: Some(OwnedTarget::of(target)),
            deadline: Instant::now() + session.settings.time_limit * 2,
            _file: session.journal.keep_file(),
        }
    }

    /// Queues it, and waits for the journal's file within the time limit.
    async fn queue(mut self) {
        if let Some(target) = self.target.take() {
            let written = self.session.journal.queue_and_write(target);
            if timeout_at(self.deadline, written).await.is_err() {
                tracing::error!(
                    "a queued invalidation is not in the journal's file yet: the disk does not respond in time"
                );
            }
        }
    }

    /// Notes that it was acknowledged over the link with that number. If that link has been lost,
    /// the next server may have received the queue before this was noted, so it is queued again.
    fn acknowledged(mut self, link: u64) {
        if let Some(target) = self.target.take() {
            self.session.journal.acknowledged(target.borrow());
            if !self.session.link.is_current(link) {
                self.session.journal.queue(target);
            }
        }
    }
}

impl Drop for PendingInvalidation<'_> {
    fn drop(&mut self) {
        if let Some(target) = self.target.take() {
            self.session.journal.queue(target);
        }
    }
}

#[cfg(test)]
mod tests {
    use cache_core::Level;
    use cache_core::tier::{FunctionKey, Peers, TierContext};

    use super::*;

    /// The link is lost between the server's reply and its processing here, so the next server may
    /// have received the queue without this invalidation.
    #[test]
    fn invalidation_acknowledged_over_a_lost_link_is_queued_again() {
        let context = TierContext::new(Level::L2, Peers::none());
        let redis = crate::Redis::new("redis://127.0.0.1:1");
        let tier = redis.tiers(&[context]).unwrap().remove(0);
        let function = FunctionKey::new("f", 1);
        let pending = PendingInvalidation::begin(&tier.session, Target::Function(&function));
        pending.acknowledged(1);
        assert_eq!(tier.session.journal.len(), 1);
    }
}
