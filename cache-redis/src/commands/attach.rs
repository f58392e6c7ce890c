//! Attaches a link to the history of the server's data set.

use redis::{RedisError, ScriptInvocation, Value};

use super::command::{Command, typed};
use super::script::{Script, script};
use crate::errors;
use crate::keys::Keys;
use crate::message::sequence_number;
use crate::server::Identity;

/// Compares the server with the one that the history was begun on. Another server begins a new
/// history, in which no earlier record is valid. So does a data set that went back: one whose
/// sequence is smaller than the last message that the caller received from this server (SWAPDB,
/// keys that were restored). A missing sequence restarts, so that every instance knows from its
/// attachment on which message is next.
///
/// KEYS history, sequence.
/// ARGV identity, new number, last message that was received from this server, channel.
///
/// Replies with the history's number, the number of the last message, and 1 if the history is new.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/attach.lua")));

/// Asks for the current history, or begins one.
#[derive(Debug)]
pub(crate) struct Attach<'a> {
    pub(crate) identity: &'a Identity,
    /// The number of the history that may begin.
    pub(crate) fresh_history: u64,
    /// The last message that was received from this server, or zero.
    pub(crate) last_message: u64,
}

/// The history that the link belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Attached {
    pub(crate) history: u64,
    /// The number of the last message.
    pub(crate) last: u64,
    pub(crate) is_new: bool,
}

impl Command for Attach<'_> {
    type Reply = Attached;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut ScriptInvocation<'_>) {
        invocation
            .key(keys.history())
            .key(keys.sequence())
            .arg(self.identity.to_string())
            .arg(self.fresh_history)
            .arg(self.last_message)
            .arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Attached, RedisError> {
        let (history, last, is_new): (u64, Vec<u8>, bool) = typed(reply)?;
        Ok(Attached {
            history,
            last: sequence_number(&last).ok_or_else(errors::no_reply)?,
            is_new,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::TestServer;

    fn attach<'a>(identity: &'a Identity, fresh_history: u64, last_message: u64) -> Attach<'a> {
        Attach {
            identity,
            fresh_history,
            last_message,
        }
    }

    #[tokio::test]
    async fn attach_begins_a_history_on_another_server_or_data_set_and_otherwise_continues_it() {
        let mut server = TestServer::start().await;
        let (one, other) = (Identity::named("one"), Identity::named("other"));
        let first = server.send(attach(&one, 5, 0)).await;
        assert!(first.history == 5 && first.is_new, "{first:?}");
        assert_eq!(server.messages().await, ["s:0", "h:5"]);

        let again = server.send(attach(&one, 6, first.last)).await;
        assert_eq!((again.history, again.is_new), (5, false));
        assert_eq!(again.last, first.last);
        assert!(server.messages().await.is_empty());

        let moved = server.send(attach(&other, 7, 0)).await;
        assert_eq!((moved.history, moved.is_new), (7, true));
        assert_eq!(moved.last, first.last + 1);
        assert_eq!(server.messages().await, ["h:7"]);

        let received = moved.last + 1;
        let went_back = server.send(attach(&other, 8, received)).await;
        assert_eq!((went_back.history, went_back.is_new), (8, true));
        assert!(went_back.last > received, "{went_back:?}");
        assert_eq!(server.messages().await, ["s:0", "h:8"]);
    }

    #[tokio::test]
    async fn attach_replaces_a_foreign_history_and_restarts_a_missing_sequence() {
        let mut server = TestServer::start().await;
        let one = Identity::named("one");
        let (history, sequence) = (server.keys.history(), server.keys.sequence());
        let first = server.send(attach(&one, 5, 0)).await;
        server.ask::<()>(&["SET", &history, "foreign"]).await;
        let reply = server.send(attach(&one, 6, 0)).await;
        assert_eq!((reply.history, reply.is_new), (6, true), "a foreign text");
        server.ask::<()>(&["DEL", &history]).await;
        server.ask::<()>(&["RPUSH", &history, "1"]).await;
        let reply = server.send(attach(&one, 7, 0)).await;
        assert_eq!((reply.history, reply.is_new), (7, true), "another type");
        server.messages().await;
        server.ask::<()>(&["DEL", &sequence]).await;
        let reply = server.send(attach(&one, 8, first.last)).await;
        assert_eq!((reply.history, reply.is_new), (7, false));
        assert!(reply.last > first.last, "{reply:?} after {first:?}");
        assert_eq!(server.messages().await, ["s:0"]);
    }
}
