//! Writes tags and expiries into the log.

use async_memcached::{Client, Error};

use super::command::Command;
use super::log::{Effect, Message, append};
use crate::keys::Keys;

/// The greatest number of digests in one message.
const MAX_DIGESTS: usize = 512;

/// Writes the invalidation or the expiry of tags into the log. The server has no record with tags,
/// so there is nothing to delete. An instance that reads the log after this has returned applies
/// it.
#[derive(Debug)]
pub(crate) struct PublishTags {
    pub(crate) keys: Keys,
    pub(crate) tags: Vec<u64>,
    pub(crate) effect: Effect,
}

impl Command for PublishTags {
    const NAME: &'static str = "invalidate tags";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        for tags in self.tags.chunks(MAX_DIGESTS) {
            let message = match self.effect {
                Effect::Invalidated => Message::Tags(tags.to_vec()),
                Effect::Expired => Message::Expired(tags.to_vec()),
            };
            append(client, &self.keys, message).await?;
        }
        Ok(())
    }
}

/// Writes the invalidation of all tags into the log.
#[derive(Debug)]
pub(crate) struct PublishAllTags {
    pub(crate) keys: Keys,
}

impl Command for PublishAllTags {
    const NAME: &'static str = "invalidate all tags";
    type Reply = ();

    async fn run(self, client: &mut Client) -> Result<(), Error> {
        append(client, &self.keys, Message::AllTags).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn tags_are_in_the_log_and_void_no_lease() {
        let mut server = TestServer::start().await;
        let last = server.last_message().await;
        let before = server.lease(&key("1")).await;
        let many: Vec<u64> = (0..MAX_DIGESTS as u64 + 1).collect();
        for (tags, effect) in [
            (&many, Effect::Invalidated),
            (&vec![1, 2], Effect::Expired),
            (&Vec::new(), Effect::Invalidated),
        ] {
            let (keys, tags) = (server.keys.clone(), tags.clone());
            server.send(PublishTags { keys, tags, effect }).await;
        }
        let keys = server.keys.clone();
        server.send(PublishAllTags { keys }).await;
        let expected = [
            Message::Tags(many[..MAX_DIGESTS].to_vec()),
            Message::Tags(many[MAX_DIGESTS..].to_vec()),
            Message::Expired(vec![1, 2]),
            Message::AllTags,
        ];
        let messages = server.messages_since(last).await;
        assert_eq!(messages.as_deref(), Some(&expected[..]));
        let item = server.item(&before.names.record).await;
        assert_eq!(item.map(|item| item.cas), Some(before.cas));
    }
}
