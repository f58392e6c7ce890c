//! Attaches a link to the history of the server's data set.

use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
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
/// A history that was begun for another number of shards is left as it is: the namespace has
/// another layout. If there is no history at all, the caller must have looked for a layout
/// elsewhere before it begins one.
///
/// KEYS history, sequence.
/// ARGV identity, new number, last message that was received from this server, 1 if a history may
/// begin where there is none and else 0, channel.
///
/// Replies with the history's number, the number of the last message, and 1 if the history is new;
/// with 0, the number of shards, and 2 if the layout is another one; with 0, nothing, and 3 if
/// there is no history and none may begin.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/attach.lua")));

/// Asks for the current history, or begins one.
#[derive(Debug)]
pub(crate) struct Attach<'a> {
    pub(crate) identity: &'a Identity,
    /// The number of the history that may begin.
    pub(crate) fresh_history: u64,
    /// The last message that was received from this server, or zero.
    pub(crate) last_message: u64,
    /// `true` if a history may begin where there is none.
    pub(crate) may_begin: bool,
}

/// Reply to an attachment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Attached(Attached),
    /// The namespace is laid out for another number of shards.
    OtherLayout(u8),
    /// There is no history, and none may begin.
    NoHistory,
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
    type Reply = Reply;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.history())
            .key(keys.sequence())
            .arg(self.identity.to_string())
            .arg(self.fresh_history)
            .arg(self.last_message)
            .arg(u8::from(self.may_begin))
            .arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Reply, RedisError> {
        let (history, text, state): (u64, Vec<u8>, u8) = typed(reply)?;
        match state {
            2 => {
                let shards = std::str::from_utf8(&text).ok();
                let shards = shards.and_then(|shards| shards.parse().ok());
                Ok(Reply::OtherLayout(shards.unwrap_or(0)))
            }
            3 => Ok(Reply::NoHistory),
            state => Ok(Reply::Attached(Attached {
                history,
                last: sequence_number(&text).ok_or_else(errors::no_reply)?,
                is_new: state == 1,
            })),
        }
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
            may_begin: true,
        }
    }

    async fn attached(server: &mut TestServer, attach: Attach<'_>) -> Attached {
        match server.send(attach).await {
            Reply::Attached(attached) => attached,
            reply => panic!("not attached: {reply:?}"),
        }
    }

    #[tokio::test]
    async fn attach_begins_a_history_on_another_server_or_data_set_and_otherwise_continues_it() {
        let mut server = TestServer::start().await;
        let (one, other) = (Identity::named("one"), Identity::named("other"));
        let first = attached(&mut server, attach(&one, 5, 0)).await;
        assert!(first.history == 5 && first.is_new, "{first:?}");
        assert_eq!(server.messages().await, ["s:0", "h:5"]);

        let again = attached(&mut server, attach(&one, 6, first.last)).await;
        assert_eq!((again.history, again.is_new), (5, false));
        assert_eq!(again.last, first.last);
        assert!(server.messages().await.is_empty());

        let moved = attached(&mut server, attach(&other, 7, 0)).await;
        assert_eq!((moved.history, moved.is_new), (7, true));
        assert_eq!(moved.last, first.last + 1);
        assert_eq!(server.messages().await, ["h:7"]);

        let received = moved.last + 1;
        let went_back = attached(&mut server, attach(&other, 8, received)).await;
        assert_eq!((went_back.history, went_back.is_new), (8, true));
        assert!(went_back.last > received, "{went_back:?}");
        assert_eq!(server.messages().await, ["s:0", "h:8"]);
    }

    #[tokio::test]
    async fn attach_replaces_a_foreign_history_and_restarts_a_missing_sequence() {
        let mut server = TestServer::start().await;
        let one = Identity::named("one");
        let (history, sequence) = (server.keys.history(), server.keys.sequence());
        let first = attached(&mut server, attach(&one, 5, 0)).await;
        server.ask::<()>(&["SET", &history, "foreign"]).await;
        let reply = attached(&mut server, attach(&one, 6, 0)).await;
        assert_eq!((reply.history, reply.is_new), (6, true), "a foreign text");
        server.ask::<()>(&["DEL", &history]).await;
        server.ask::<()>(&["RPUSH", &history, "1"]).await;
        let reply = attached(&mut server, attach(&one, 7, 0)).await;
        assert_eq!((reply.history, reply.is_new), (7, true), "another type");
        server.messages().await;
        server.ask::<()>(&["DEL", &sequence]).await;
        let reply = attached(&mut server, attach(&one, 8, first.last)).await;
        assert_eq!((reply.history, reply.is_new), (7, false));
        assert!(reply.last > first.last, "{reply:?} after {first:?}");
        assert_eq!(server.messages().await, ["s:0"]);
    }

    #[tokio::test]
    async fn history_of_another_layout_is_left_as_it_is() {
        for (before, after) in [(1, 8), (8, 1), (8, 4)] {
            let mut server = TestServer::start().await;
            let history = server.keys.history();
            let name = |name: &str, shards| Identity::named(name).of_shards(shards);
            attached(&mut server, attach(&name("one", before), 5, 0)).await;
            server.messages().await;
            let text = server.text(&history).await;
            // Another server too: its data set may be a copy.
            for server_name in ["one", "other"] {
                // A message that is missing would begin a new history in the same layout.
                let identity = name(server_name, after);
                let reply = server.send(attach(&identity, 6, u64::MAX >> 12)).await;
                assert_eq!(reply, Reply::OtherLayout(before));
            }
            assert_eq!(server.text(&history).await, text);
            assert!(server.messages().await.is_empty());
            let again = attached(&mut server, attach(&name("one", before), 6, 0)).await;
            assert_eq!((again.history, again.is_new), (5, false));
        }
    }

    #[tokio::test]
    async fn history_begins_where_there_is_none_only_if_it_may() {
        let mut server = TestServer::start().await;
        let one = Identity::named("one");
        let careful = |fresh_history| Attach {
            may_begin: false,
            ..attach(&one, fresh_history, 0)
        };
        assert_eq!(server.send(careful(5)).await, Reply::NoHistory);
        let keys: Vec<String> = server.ask(&["KEYS", "*"]).await;
        assert!(keys.is_empty(), "{keys:?}");
        attached(&mut server, attach(&one, 6, 0)).await;
        let again = attached(&mut server, careful(7)).await;
        assert_eq!((again.history, again.is_new), (6, false));
        let other = Identity::named("other");
        let moved = Attach {
            may_begin: false,
            ..attach(&other, 8, 0)
        };
        let moved = attached(&mut server, moved).await;
        assert_eq!(
            (moved.history, moved.is_new),
            (8, true),
            "its layout is known"
        );
    }
}
