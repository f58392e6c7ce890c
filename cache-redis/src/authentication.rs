//! Authenticates the connections of a link again before their credentials end.

use std::sync::atomic::Ordering;

use cache_core::Error;
use tokio::time::timeout;

use crate::credentials::CredentialLife;
use crate::errors::{self, failed};
use crate::session::{Link, RedisSession};

impl RedisSession {
    /// Authenticates both connections of the link with new credentials. Returns `false` if the link
    /// must be given up: its credentials end before another attempt could succeed.
    pub(crate) async fn authenticate(&self, link: &Link) -> bool {
        match self.try_to_authenticate(link).await {
            Ok(life) => {
                self.renewal.begin(life);
                self.reported.renewal_fails.store(false, Ordering::Relaxed);
                true
            }
            Err(error) => {
                self.report_failed_renewal(&error);
                self.renewal.failed(error, self.settings.connect_limit)
            }
        }
    }

    /// Warns once for all shards, until a renewal succeeds.
    fn report_failed_renewal(&self, error: &Error) {
        if !self.reported.renewal_fails.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                target: "multi_tier_cached::redis",
                shard = self.shard_in_log(),
                address = self.tried(),
                error = ?error,
                "the credentials for Redis cannot be renewed; trying again until they end"
            );
        }
    }

    async fn try_to_authenticate(&self, link: &Link) -> Result<Option<CredentialLife>, Error> {
        let Some((credentials, life)) = self.locator.ask_for_credentials().await? else {
            return Ok(None);
        };
        let command = credentials.command();
        let (mut data, mut channel) = (link.data.clone(), link.channel.clone());
        let both = async {
            tokio::try_join!(
                command.exec_async(&mut data),
                command.exec_async(&mut channel)
            )
        };
        timeout(self.silence(), both)
            .await
            .unwrap_or_else(|_| Err(errors::no_reply()))
            .map_err(|error| failed("authenticate again", error))?;
        Ok(life)
    }
}
