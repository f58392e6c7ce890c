//! Sends invalidations: the one of a call, and the queued ones.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::Target;
use redis::RedisError;
use tokio::time::timeout;

use crate::commands::invalidate::Invalidate;
use crate::commands::{self, PORTION};
use crate::errors;
use crate::number::fresh_number;
use crate::session::{Link, RedisSession};

impl RedisSession {
    /// Sends one invalidation, which may begin a new history.
    pub(crate) async fn send_invalidation(
        &self,
        link: &Link,
        target: Target<'_>,
    ) -> Result<(), RedisError> {
        let asked = self.bus.epochs.mark();
        let command = self.invalidation(link, target);
        let history = command.new_history();
        commands::send(&mut link.data.clone(), &self.keys, command).await?;
        if let Some(history) = history {
            self.bus.epochs.adopt(history, asked);
        }
        Ok(())
    }

    fn invalidation<'a>(&'a self, link: &'a Link, target: Target<'a>) -> Invalidate<'a> {
        Invalidate {
            target,
            fresh: fresh_number(),
            identity: &link.identity,
            audit: self.settings.audit.as_ref(),
        }
    }

    /// Sends all queued invalidations in portions, so that a portion that was sent is not sent
    /// again if the rest fails. Returns the number of invalidations that the server refused. They
    /// stay queued.
    ///
    /// The total time is not limited, because a link may be slow. A portion without a reply within
    /// the [silence](Self::silence) ends it.
    pub(crate) async fn flush(&self, link: &Link) -> Result<usize, Error> {
        self.flush_within(link, self.silence()).await
    }

    /// [`flush`](Self::flush) with another time limit for each portion.
    pub(crate) async fn flush_within(&self, link: &Link, limit: Duration) -> Result<usize, Error> {
        let before = self.journal.len();
        let refused = self.flush_targets(link, limit).await?;
        let refused = refused + self.flush_tags(link, limit).await?;
        if refused < before {
            tracing::info!(
                target: "multi_tier_cached::redis",
                shard = self.shard_in_log(),
                address = self.tried(),
                number = before - refused,
                "queued invalidations were sent to Redis"
            );
        }
        if refused > 0 {
            self.permissions.doubt();
            self.journal.retry();
        }
        Ok(refused)
    }

    async fn flush_targets(&self, link: &Link, limit: Duration) -> Result<usize, Error> {
        let failed = |error| errors::failed("send queued invalidations", error);
        let batch = self.journal.queued();
        let targets: Vec<Target<'_>> = batch.targets().collect();
        let mut refused = 0;
        for portion in targets.chunks(PORTION) {
            let sent = timeout(limit, self.send_portion(link, portion)).await;
            let sent = sent
                .unwrap_or_else(|_| Err(errors::no_reply()))
                .map_err(failed)?;
            refused += portion.len() - sent.len();
            // If the link was lost in the meantime, another server may have taken over, and may
            // have received the queue before this portion was noted as sent. So the portion stays
            // queued.
            if self.link.is_lost(link.number) {
                return Err(failed(errors::no_reply()));
            }
            for target in &sent {
                self.bus.peers.done_late(*target);
            }
            self.counters.replayed(sent.len());
            self.journal.sent(&sent, batch.number());
        }
        Ok(refused)
    }

    /// Sends invalidations, and returns those that took effect.
    ///
    /// A refusal of one does not cost the link, which other keys need: while a cluster migrates the
    /// slot, it refuses keys that are no longer on this node.
    async fn send_portion<'a>(
        &self,
        link: &Link,
        portion: &[Target<'a>],
    ) -> Result<Vec<Target<'a>>, RedisError> {
        let asked = self.bus.epochs.mark();
        let invalidations: Vec<_> = portion
            .iter()
            .map(|target| self.invalidation(link, *target))
            .collect();
        let histories: Vec<_> = invalidations.iter().map(Invalidate::new_history).collect();
        let mut data = link.data.clone();
        let replies = commands::send_each(&mut data, &self.keys, invalidations).await?;
        let mut sent = Vec::with_capacity(portion.len());
        for ((target, history), reply) in portion.iter().zip(histories).zip(replies) {
            match reply {
                Ok(_) => {
                    if let Some(history) = history {
                        self.bus.epochs.adopt(history, asked);
                    }
                    sent.push(*target);
                }
                Err(error) if errors::is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(target: "multi_tier_cached::redis", shard = self.shard_in_log(), error = ?error, "the server refuses an invalidation for now");
                }
            }
        }
        Ok(sent)
    }
}
