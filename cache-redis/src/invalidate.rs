//! Sends invalidations: the one of a call, and the queued ones.

use std::time::Duration;

use cache_core::Error;
use redis::RedisError;
use tokio::time::timeout;

use crate::commands::invalidate::Invalidate;
use crate::commands::{self, PORTION};
use crate::journal::{Invalidated, Queued};
use crate::number::fresh_number;
use crate::server;
use crate::session::{Link, RedisSession};

impl RedisSession {
    /// Sends one invalidation, which may begin a new history.
    pub(crate) async fn send_invalidation(
        &self,
        link: &Link,
        what: &Invalidated,
    ) -> Result<(), RedisError> {
        let asked = self.bus.epochs.mark();
        let command = self.invalidation(link, what);
        let history = command.new_history();
        commands::send(&mut link.data.clone(), &self.keys, command).await?;
        if let Some(history) = history {
            self.bus.epochs.adopt(history, asked);
        }
        Ok(())
    }

    fn invalidation<'a>(&'a self, link: &'a Link, target: &'a Invalidated) -> Invalidate<'a> {
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
        let mut queued = self.journal.queued();
        let all = queued.len();
        let mut refused = 0;
        while !queued.is_empty() {
            let rest = queued.split_off(queued.len().min(PORTION));
            let portion = queued.len();
            let sent = timeout(limit, self.send_portion(link, queued)).await;
            let sent = sent
                .unwrap_or_else(|_| Err(server::no_answer()))
                .map_err(|error| server::failed("send queued invalidations", error))?;
            refused += portion - sent.len();
            // If the link was lost in the meantime, another server may have taken over, and may
            // have received the queue before this portion was noted as sent. So the portion stays
            // queued.
            if self.link.is_lost(link.number) {
                return Err(server::failed(
                    "send queued invalidations",
                    server::no_answer(),
                ));
            }
            for Queued { what, .. } in &sent {
                what.with_target(|target| self.bus.peers.done_late(target));
            }
            self.counters.replayed(sent.len());
            self.journal.sent(sent);
            queued = rest;
        }
        if refused < all {
            tracing::info!(
                number = all - refused,
                "queued invalidations were sent to Redis"
            );
        }
        if refused > 0 {
            self.permissions.doubt();
            self.journal.retry();
        }
        Ok(refused)
    }

    /// Sends invalidations, and returns those that took effect.
    ///
    /// A refusal of one does not cost the link, which other keys need: while a cluster migrates the
    /// slot, it refuses keys that are no longer on this node.
    async fn send_portion(
        &self,
        link: &Link,
        portion: Vec<Queued>,
    ) -> Result<Vec<Queued>, RedisError> {
        let asked = self.bus.epochs.mark();
        let invalidations: Vec<_> = portion
            .iter()
            .map(|Queued { what, .. }| self.invalidation(link, what))
            .collect();
        let histories: Vec<_> = invalidations.iter().map(Invalidate::new_history).collect();
        let mut data = link.data.clone();
        let answers = commands::send_each(&mut data, &self.keys, invalidations).await?;
        let mut sent = Vec::with_capacity(portion.len());
        for ((queued, history), answer) in portion.into_iter().zip(histories).zip(answers) {
            match answer {
                Ok(()) => {
                    if let Some(history) = history {
                        self.bus.epochs.adopt(history, asked);
                    }
                    sent.push(queued);
                }
                Err(error) if server::is_fatal(&error) => return Err(error),
                Err(error) => {
                    tracing::debug!(error = ?error, "the server refuses an invalidation for now");
                }
            }
        }
        Ok(sent)
    }
}
