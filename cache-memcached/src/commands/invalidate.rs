//! Invalidates a key, a function, or everything.

use async_memcached::{Client, Error};
use cache_core::tier::kit::OwnedTarget;

use super::command::Command;
use super::items::{delete, replace_number};
use super::log::{Effect, Message, append};
use crate::keys::Keys;

/// Deletes the record and the leases of a key, or replaces the number that all records of a
/// function, or of the namespace, carry; then writes the invalidation into the log. An instance
/// that reads the log after this has returned applies it.
///
/// An expiry does the same here, so that no load in progress stores a value as a fresh one. The
/// instances that read it in the log keep the values in their memory as stale ones.
#[derive(Debug)]
pub(crate) struct Invalidate {
    pub(crate) keys: Keys,
    pub(crate) target: OwnedTarget,
    pub(crate) effect: Effect,
}

impl Command for Invalidate {
    const NAME: &'static str = "invalidate";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        let Self {
            keys,
            target,
            effect,
        } = self;
        match &target {
            OwnedTarget::Key(key) => delete(client, &keys.record(key)).await?,
            OwnedTarget::Function(function) => {
                replace_number(client, &keys.epoch(function)).await?;
            }
            OwnedTarget::All => replace_number(client, &keys.history()).await?,
        }
        append(client, &keys, Message::of(target.borrow(), effect)).await
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

    #[tokio::test]
    async fn expiry_voids_the_leases_and_is_another_message() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let last = server.last_message().await;
        let before = server.lease(&key).await;
        let function = (*key.function).clone();
        for target in [
            OwnedTarget::Key(key.clone()),
            OwnedTarget::Function(function),
            OwnedTarget::All,
        ] {
            let keys = server.keys.clone();
            let effect = Effect::Expired;
            let expiry = Invalidate {
                keys,
                target,
                effect,
            };
            server.send(expiry).await;
        }
        assert_eq!(server.item(&before.names.record).await, None);
        let after = server.lease(&key).await;
        assert_ne!(after.stamp.epoch, before.stamp.epoch);
        let messages = server.messages_since(last).await;
        let expected = [
            Message::Expired(vec![key.digest]),
            Message::Expired(vec![key.function.digest]),
            Message::All,
        ];
        assert_eq!(messages.as_deref(), Some(&expected[..]));
    }
}
