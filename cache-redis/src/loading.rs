//! Loads the ledger of a shard into the copy that a link follows.

use redis::RedisError;
use tokio::time::timeout;

use crate::commands::ledger_read::{self, Head};
use crate::errors;
use crate::ledger::Ledger;
use crate::permissions::Purpose;
use crate::session::{Link, RedisSession};

/// The number of times that a load is begun again at once, because the ledger has changed during
/// the load in a way that the load does not show.
const ATTEMPTS: usize = 4;

impl RedisSession {
    /// Loads the ledger if a function needs it and it is not known. Returns `false` if it is not
    /// known afterwards, and the load is to be tried again later.
    ///
    /// # Errors
    /// The server does not reply or refuses.
    pub(crate) async fn load_ledger(&self, link: &Link) -> Result<bool, RedisError> {
        if self.permissions.lacks(Purpose::Tags) {
            // Another load is begun when the permission is there.
            return Ok(true);
        }
        for _ in 0..ATTEMPTS {
            let Some(load) = self.bus.mirror.begin_load() else {
                return Ok(true);
            };
            if let Some(ledger) = self.read_ledger(link).await?
                && load.finish(ledger)
            {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the ledger, or that there is none. Returns `None` if it was begun again, or its next
    /// generation was begun, since the first request.
    ///
    /// The channel's connection is used, so that all messages from before the last reply have been
    /// applied when it arrives: with few exceptions, nothing has to be loaded twice. The portions
    /// are small, because the barrier waits behind them.
    async fn read_ledger(&self, link: &Link) -> Result<Option<Option<Ledger>>, RedisError> {
        let before = self.ledger_head(link).await?;
        let Some(head) = before else {
            return Ok(Some(None));
        };
        let mut ledger = head.ledger();
        // The current generation first: if it becomes the old one in between, the head shows it.
        self.scan_ledger(link, &self.keys.ledger(), &mut ledger)
            .await?;
        if head.old.is_some() {
            self.scan_ledger(link, &self.keys.old_ledger(), &mut ledger)
                .await?;
        }
        let after = self.ledger_head(link).await?;
        Ok((before == after).then_some(Some(ledger)))
    }

    async fn ledger_head(&self, link: &Link) -> Result<Option<Head>, RedisError> {
        let mut channel = link.channel.clone();
        let head = ledger_read::head(&mut channel, &self.keys);
        let head = timeout(self.silence(), head).await;
        head.unwrap_or_else(|_| Err(errors::no_reply()))
    }

    /// Notes all entries under a key in a ledger.
    async fn scan_ledger(
        &self,
        link: &Link,
        name: &str,
        ledger: &mut Ledger,
    ) -> Result<(), RedisError> {
        let mut channel = link.channel.clone();
        let mut cursor = 0;
        loop {
            let portion = ledger_read::scan(&mut channel, name, cursor);
            let portion = timeout(self.silence(), portion).await;
            let portion = portion.unwrap_or_else(|_| Err(errors::no_reply()))?;
            portion.note_in(ledger);
            cursor = portion.cursor;
            if cursor == 0 {
                return Ok(());
            }
        }
    }
}
