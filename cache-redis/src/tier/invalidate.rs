//! Invalidates a target.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{Receipt, Target};

use super::in_progress::InProgress;
use crate::commands::invalidate::InvalidatedKey;
use crate::journal::Invalidated;
use crate::session::RedisSession;

impl RedisSession {
    pub(super) async fn invalidate(
        &self,
        target: Target<'_>,
        within: Duration,
    ) -> Result<Receipt, Error> {
        let in_progress = InProgress::begin(self, Invalidated::of(target))?;
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
        Ok(in_progress.end(sent).await)
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
