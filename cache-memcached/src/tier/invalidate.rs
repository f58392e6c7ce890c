//! Invalidates, and waits until invalidations are done everywhere.

use std::time::Duration;

use cache_core::tier::{Receipt, Target};
use cache_core::{Error, ErrorKind};
use tokio::time::{sleep, timeout};

use super::MemcachedTier;
use crate::commands::log::Effect;
use crate::session::Sent;

/// The allowance for clocks that run at different rates, as a part of the time that they measure.
const DRIFT: u32 = 100;

impl MemcachedTier {
    pub(super) async fn invalidate_within(
        &self,
        target: Target<'_>,
        effect: Effect,
        within: Duration,
    ) -> Result<Receipt, Error> {
        let session = &self.session;
        self.check_open()?;
        let number = session.pending.add(target);
        let sent = session.link.current().and_then(|(link, _)| {
            // The command runs on, or is sent over the next link, if this future is dropped.
            session.send_invalidation(&link, target, effect, number)
        });
        Ok(receipt(sent, within).await)
    }

    /// Publishes tags. The server has no record that carries one.
    pub(super) async fn publish_tags_within(
        &self,
        tags: &[u64],
        effect: Effect,
        within: Duration,
    ) -> Result<Receipt, Error> {
        let session = &self.session;
        self.check_open()?;
        let number = session.pending.add_tags(tags);
        let link = session.link.current();
        let sent = link.and_then(|(link, _)| session.send_tags(&link, tags, effect, number));
        Ok(receipt(sent, within).await)
    }

    fn check_open(&self) -> Result<(), Error> {
        if self.session.link.is_closed() {
            let problem = "invalidate: the tier was shut down";
            return Err(Error::new(ErrorKind::Unavailable, problem));
        }
        Ok(())
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

/// Waits for the result of an invalidation that was sent, if it was.
async fn receipt(sent: Option<Sent>, within: Duration) -> Receipt {
    let Some(sent) = sent else {
        return Receipt::Queued;
    };
    match timeout(within, sent).await {
        Ok(Ok(Ok(()))) => Receipt::Acked,
        // The command continues, or is sent over the next link.
        _ => Receipt::Queued,
    }
}
