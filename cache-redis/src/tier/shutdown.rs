//! Starts the tier, and ends it in order.

use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use tokio::time::timeout;

use super::RedisTier;
use crate::session::{Link, RedisSession};
use crate::supervisor::RedisConnector;

/// The time limit for sending queued invalidations in a shutdown. Orchestrators commonly kill a
/// process 30 s after they asked it to end.
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(10);

impl RedisTier {
    /// Starts the supervisor and waits for its first attempt.
    pub(super) async fn connect(&self) -> Result<(), Error> {
        let session = Arc::clone(&self.session);
        let connected = self.supervisor.start(RedisConnector::new(session)).await;
        match connected {
            Err(error) if self.session.settings.required => {
                self.close();
                let address = self.session.address();
                let cannot_be = match error.kind() {
                    ErrorKind::Unavailable | ErrorKind::TimedOut => "reached",
                    _ => "used",
                };
                Err(Error::with_source(
                    error.kind(),
                    format!("Redis at {address} is required and cannot be {cannot_be}"),
                    error,
                ))
            }
            // The failure is in the log, and the supervisor continues.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Sends the queued invalidations, and ends the link.
    ///
    /// It continues for [`LONGEST_SHUTDOWN`] in total, as long as each portion is acknowledged
    /// within the time limit.
    ///
    /// # Errors
    /// Queued invalidations are lost with this process.
    pub(super) async fn end(&self) -> Result<(), Error> {
        #[cfg(feature = "inspect")]
        self.publisher.stop(&self.session).await;
        let session = &self.session;
        if let Some((link, number)) = session.link.current() {
            let flushed = timeout(LONGEST_SHUTDOWN, session.finish(&link)).await;
            if !matches!(flushed, Ok(Ok(0))) {
                tracing::debug!(
                    target: "multi_tier_cached::redis",
                    shard = session.shard_in_log(),
                    "some invalidations could not be sent before the shutdown"
                );
            }
            // First, so that the supervisor does not take it for a loss.
            session.leave();
            session.lose(number);
        }
        let limit = session.settings.time_limit;
        let written = timeout(limit, session.journal.is_written()).await;
        let queued = session.journal.len();
        self.close();
        if queued == 0 {
            return Ok(());
        }
        let why = match (&session.settings.journal_file, written) {
            (Some(file), Ok(true)) => {
                tracing::info!(target: "multi_tier_cached::redis", shard = session.shard_in_log(), queued, file = %file.display(), "invalidations are in the journal's file, for the next process to send");
                return Ok(());
            }
            (Some(_), _) => "the journal file could not be written in time",
            (None, _) => "there is no journal file that keeps them",
        };
        tracing::warn!(
            target: "multi_tier_cached::redis",
            shard = session.shard_in_log(),
            queued,
            why,
            "invalidations could not be sent to Redis before the shutdown, and are lost"
        );
        let what = match queued {
            1 => "1 invalidation was".to_owned(),
            _ => format!("{queued} invalidations were"),
        };
        let problem = format!("{what} not sent to Redis before the shutdown: {why}");
        Err(Error::new(ErrorKind::Unavailable, problem))
    }

    /// Ends the link without sending anything.
    pub(crate) fn close(&self) {
        self.supervisor.abort();
        // The supervisor ends at its next await only, and may put a link in place before. A closed
        // session does not accept it.
        self.session.close();
    }
}

impl RedisSession {
    /// Releases leases and sends queued invalidations. Returns the number of invalidations that the
    /// server refused.
    async fn finish(&self, link: &Link) -> Result<usize, Error> {
        let limit = self.settings.time_limit;
        let returned = self.leases.take_returned();
        // A lease whose release does not arrive expires by itself.
        let _ = timeout(limit, self.release_leases(link, &returned)).await;
        let left = self.flush_within(link, limit).await;
        // Replies arrive in order: after these, no request of a call is pending.
        let mut data = link.data.clone();
        let _ = timeout(limit, link.batches.drain()).await;
        let _ = timeout(limit, redis::cmd("PING").exec_async(&mut data)).await;
        left
    }
}
