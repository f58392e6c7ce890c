//! Invalidates a key, a function, or everything.

use async_memcached::{Client, Error};
use cache_core::tier::kit::OwnedTarget;

use super::command::Command;
use super::items::{delete, replace_number};
use super::log::{Message, append};
use crate::keys::Keys;

/// Deletes the record and the leases of a key, or replaces the number that all records of a
/// function, or of the namespace, carry; then writes the invalidation into the log. An instance
/// that reads the log after this has returned applies it.
#[derive(Debug)]
pub(crate) struct Invalidate {
    pub(crate) keys: Keys,
    pub(crate) target: OwnedTarget,
}

impl Command for Invalidate {
    const NAME: &'static str = "invalidate";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        let Self { keys, target } = self;
        match &target {
            OwnedTarget::Key(key) => delete(client, &keys.record(key)).await?,
            OwnedTarget::Function(function) => {
                replace_number(client, &keys.epoch(function)).await?;
            }
            OwnedTarget::All => replace_number(client, &keys.history()).await?,
        }
        append(client, &keys, Message::of(target.borrow())).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn invalidation_voids_what_it_names_and_is_in_the_log() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let last = server.last_message().await;
        let before = server.lease(&key).await;
        server.invalidate_key(&key).await;
        assert_eq!(server.item(&before.names.record).await, None);
        server.invalidate_function().await;
        let after = server.lease(&key).await;
        assert_ne!(after.stamp.epoch, before.stamp.epoch);
        assert_eq!(after.stamp.history, before.stamp.history);
        server.invalidate(OwnedTarget::All).await;
        let last_lease = server.lease(&key).await;
        assert_ne!(last_lease.stamp.history, before.stamp.history);
        let messages = server.messages_since(last).await;
        let expected = [
            Message::Key(key.digest),
            Message::Function(key.function.digest),
            Message::All,
        ];
        assert_eq!(messages.as_deref(), Some(&expected[..]));
    }
}
