//! Renews a lease.

use std::time::Duration;

use async_memcached::{Client, Error};

use super::command::Command;
use super::items::{get, touch};

/// Lets a lease live for `life` from now on, if it is still held.
#[derive(Debug)]
pub(crate) struct Renew {
    /// The name of the item of the lease.
    pub(crate) name: String,
    pub(crate) cas: u64,
    pub(crate) life: Duration,
}

impl Command for Renew {
    const NAME: &'static str = "renew a lease";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        let item = get(client, &self.name).await?;
        if item.is_some_and(|item| item.cas == self.cas) {
            // A record that takes the place of the lease in between is kept by the server for
            // `life` only. After that it is missing, which costs one more load.
            touch(client, &self.name, self.life).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{MINUTE, TestServer, key};

    #[tokio::test]
    async fn only_the_lease_that_is_held_is_renewed() {
        let mut server = TestServer::start().await;
        let lease = server.lease(&key("1")).await;
        let renew = |cas, minutes| Renew {
            name: lease.names.record.clone(),
            cas,
            life: MINUTE * minutes,
        };
        server.send(renew(lease.cas + 1, 3)).await;
        let left = server.seconds_left(&lease.names.record).await;
        assert!(left <= 62, "another lease was renewed: {left}");
        server.send(renew(lease.cas, 3)).await;
        let left = server.seconds_left(&lease.names.record).await;
        assert!(left > 120, "it was not renewed: {left}");
    }
}
