//! Invalidates, and waits until invalidations are done everywhere.

use std::time::Duration;

use cache_core::tier::{Receipt, Target};
use cache_core::{Error, ErrorKind};
use tokio::time::{sleep, timeout};

use super::MemcachedTier;

/// The allowance for clocks that run at different rates, as a part of the time that they measure.
const DRIFT: u32 = 100;

impl MemcachedTier {
    pub(super) async fn invalidate_within(
        &self,
        target: Target<'_>,
        within: Duration,
    ) -> Result<Receipt, Error> {
        let session = &self.session;
        if session.link.is_closed() {
            return Err(Error::new(
                ErrorKind::Unavailable,
                "invalidate: the tier was shut down",
            ));
        }
        let number = session.pending.add(target);
        let Some((link, _)) = session.link.current() else {
            return Ok(Receipt::Queued);
        };
        let Some(sent) = session.send_invalidation(&link, target, number) else {
            return Ok(Receipt::Queued);
        };
        match timeout(within, sent).await {
            Ok(Ok(Ok(()))) => Ok(Receipt::Acked),
            // The command continues, or is sent over the next link.
            _ => Ok(Receipt::Queued),
        }
    }

    pub(super) async fn wait_until_settled(&self) -> Result<(), Error> {
        let session = &self.session;
        session.pending.wait_empty().await?;
        // An instance that last read the log before the invalidation serves from memory for the
        // staleness bound, and no longer.
        let bound = session.coherence.staleness_bound();
        sleep(bound + bound / DRIFT).await;
        Ok(())
    }
}
