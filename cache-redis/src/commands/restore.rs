//! Restores control keys that the server has evicted.

use cache_core::tier::FunctionKey;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script_even_if_full};
use crate::keys::Keys;
use crate::server::Identity;

/// Restores control keys, unless a message was published that the caller has not applied: it may
/// have changed them. The number of the last message shows it. If the sequence is missing, it
/// restarts and nothing else is restored. The caller receives the message of the restart, and
/// restores the other keys after its next barrier.
///
/// KEYS sequence, history, epochs.
/// ARGV last message that was applied, history with identity, an epoch for each, channel.
///
/// Replies with 1 if the missing keys were restored.
pub(super) static SCRIPT: Script =
    Script::new(|| script_even_if_full(include_str!("lua/restore.lua")));

/// Writes the history and some epochs again where they are missing.
#[derive(Debug)]
pub(crate) struct Restore<'a> {
    /// The last message that was applied before the keys were found missing.
    pub(crate) last_message: u64,
    pub(crate) history: u64,
    pub(crate) identity: &'a Identity,
    /// Functions whose epochs are missing, each with its epoch.
    pub(crate) epochs: &'a [(&'a FunctionKey, u64)],
}

/// Reply to a restoration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Restored,
    /// The sequence was missing and restarted, or the caller has not applied its last message.
    NotYet,
}

impl Command for Restore<'_> {
    type Reply = Reply;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.sequence()).key(keys.history());
        for (function, _) in self.epochs {
            invocation.key(keys.epoch(function));
        }
        invocation
            .arg(self.last_message)
            .arg(format!("{}:{}", self.history, self.identity));
        for (_, epoch) in self.epochs {
            invocation.arg(epoch);
        }
        invocation.arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Reply, RedisError> {
        Ok(match typed::<i64>(reply)? {
            1 => Reply::Restored,
            _ => Reply::NotYet,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{HISTORY, TestServer};

    #[tokio::test]
    async fn missing_keys_are_restored_unless_a_message_was_not_applied() {
        let mut server = TestServer::start().await;
        let last = server.attach().await.last;
        let (f, g) = (FunctionKey::new("f", 1), FunctionKey::new("g", 1));
        let identity = Identity::named("server");
        let epochs = [(&f, 11), (&g, 12)];
        let restore = |last_message| Restore {
            last_message,
            history: HISTORY,
            identity: &identity,
            epochs: &epochs,
        };
        let [history, f_epoch, g_epoch] = [
            server.keys.history(),
            server.keys.epoch(&f),
            server.keys.epoch(&g),
        ];
        server.ask::<()>(&["DEL", &history]).await;
        server.ask::<()>(&["SET", &g_epoch, "99"]).await;
        assert_eq!(server.send(restore(last - 1)).await, Reply::NotYet);
        assert_eq!(server.text(&history).await, "");

        assert_eq!(server.send(restore(last)).await, Reply::Restored);
        assert_eq!(server.text(&history).await, format!("5:{identity}"));
        assert_eq!(server.text(&f_epoch).await, "11");
        assert_eq!(server.text(&g_epoch).await, "99", "it was not missing");
        assert!(server.messages().await.is_empty());
    }

    #[tokio::test]
    async fn missing_sequence_restarts_and_nothing_else_is_restored() {
        let mut server = TestServer::start().await;
        let last = server.attach().await.last;
        let [history, sequence] = [server.keys.history(), server.keys.sequence()];
        server.ask::<()>(&["DEL", &history, &sequence]).await;
        let restore = Restore {
            last_message: last,
            history: HISTORY,
            identity: &Identity::named("server"),
            epochs: &[],
        };
        assert_eq!(server.send(restore).await, Reply::NotYet);
        assert_eq!(server.text(&history).await, "");
        let number: u64 = server.text(&sequence).await.parse().unwrap();
        assert!(number > last, "{number} after {last}");
        assert_eq!(server.messages().await, ["s:0"]);
    }
}
