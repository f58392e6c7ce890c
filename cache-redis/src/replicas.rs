//! Waits until replicas have what the server has acknowledged.

use std::time::Duration;

use cache_core::{Error, ErrorKind};
use tokio::time::{Instant, timeout};

use crate::drivers::OwnDriver;
use crate::errors::{self, failed};
use crate::number::millis;
use crate::permissions::Purpose;
use crate::session::{Link, RedisSession, not_ready};

impl RedisSession {
    /// Waits until `replicas` replicas have everything that was acknowledged before.
    ///
    /// # Errors
    /// Fewer have it within the time.
    pub(crate) async fn wait_for_replicas(
        &self,
        replicas: u32,
        within: Duration,
    ) -> Result<(), Error> {
        if let Some(missing) = self.missing(Purpose::Replicated) {
            return Err(missing);
        }
        let link = self.require_link()?;
        let count = self
            .replicas_with_last_write(&link, replicas, within)
            .await?;
        if count >= replicas {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::TimedOut,
            format!(
                "only {count} of {replicas} replicas had the write within {} ms",
                within.as_millis()
            ),
        ))
    }

    /// Returns how many replicas have acknowledged everything that the server has now. It stops
    /// waiting at `replicas`, or after `within`, of which it takes the time to connect.
    ///
    /// The connection is not one of the link's, because the server answers nothing else on it until
    /// it has replied.
    async fn replicas_with_last_write(
        &self,
        link: &Link,
        replicas: u32,
        within: Duration,
    ) -> Result<u32, Error> {
        let began = Instant::now();
        let ask = async {
            let found = self.locator.found().ok_or_else(not_ready)?;
            let entrance = self.locator.enter(&found).await?;
            let (mut own, driver) = self.open(link.number, &entrance, None).await?;
            let _driver = OwnDriver(driver);
            let greeting = self.greet(&mut own).await?;
            if greeting.identity != *link.identity {
                // The identity also changes when the first replica of the same server attaches.
                self.lose(link.number);
                return Err(Error::new(
                    ErrorKind::Unavailable,
                    "the server was replaced during the wait for replicas",
                ));
            }
            // WAIT counts replicas that have the last write of its own connection, and replicas
            // apply writes in order.
            self.heartbeat_on(&mut own)
                .await
                .map_err(|error| failed("write to the server", error))?;
            redis::cmd("WAIT")
                .arg(replicas)
                .arg(millis(within.saturating_sub(began.elapsed())))
                .query_async(&mut own)
                .await
                .map_err(|error| failed("wait for replicas", error))
        };
        // The server keeps the time limit. This one is for a server that does not respond.
        timeout(self.settings.connect_limit + within, ask)
            .await
            .unwrap_or_else(|_| Err(failed("wait for replicas", errors::no_reply())))
    }
}
