//! Starts the tier, and ends it in order.

use std::sync::Arc;

use cache_core::{Error, ErrorKind};
use tokio::time::timeout;

use super::MemcachedTier;
use crate::supervisor::MemcachedConnector;

impl MemcachedTier {
    /// Starts the supervisor, and waits for its first attempt.
    pub(super) async fn connect(&self) -> Result<(), Error> {
        let connector = MemcachedConnector::new(Arc::clone(&self.session));
        let connected = self.supervisor.start(connector).await;
        match connected {
            Err(error) if self.session.config.required => {
                self.close();
                let address = self.session.config.redacted_url();
                let problem = format!("memcached at {address} is required and cannot be used");
                Err(Error::with_source(error.kind(), problem, error))
            }
            // The supervisor has logged the failure, and tries again.
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// Waits for the invalidations that are being sent, releases what this instance holds at the
    /// server, both within the time limit of a call, and ends the link.
    ///
    /// # Errors
    /// Pending invalidations are lost with this process.
    pub(super) async fn end(&self) -> Result<(), Error> {
        let session = &self.session;
        if let Some((link, _)) = session.link.current() {
            let finish = async {
                self.wait_until_sent().await;
                session.give_up_held(&link).await;
            };
            // Invalidations that are left after the time limit are counted below.
            let _ = timeout(session.config.time_limit, finish).await;
        }
        session.close();
        self.supervisor.end().await;
        let pending = session.pending.len();
        if pending == 0 {
            return Ok(());
        }
        let problem = "pending invalidations were not sent to memcached before the shutdown";
        tracing::warn!(target: "multi_tier_cached::memcached", pending, "{problem}, and are lost");
        let problem = format!("{problem}: {pending}");
        Err(Error::new(ErrorKind::Unavailable, problem))
    }

    /// Waits until nothing is pending, or the link is lost.
    async fn wait_until_sent(&self) {
        let session = &self.session;
        loop {
            let changed = session.pending.changed();
            if session.pending.is_empty() || !session.link.is_connected() {
                return;
            }
            changed.await;
        }
    }

    /// Ends the link without sending anything.
    pub(super) fn close(&self) {
        // The supervisor ends at its next await only, and may make a link before. A closed session
        // does not accept it.
        self.session.close();
        self.supervisor.abort();
    }
}
