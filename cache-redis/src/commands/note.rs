//! Writes an entry of the audit.

use redis::{RedisError, Value};

use super::command::{Command, Invocation};
use super::invalidate::refusal;
use super::script::{Script, script};
use crate::config::Audit;
use crate::keys::Keys;

/// Records an invalidation that is about to be made in several steps.
///
/// KEYS stream.
/// ARGV who, what, the stream's length.
///
/// Replies with 1, or with the code of the error if the server refuses the entry.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/note.lua")));

/// Adds an entry to the audit's stream.
#[derive(Debug)]
pub(crate) struct Note<'a> {
    pub(crate) audit: &'a Audit,
    /// The target, with the pattern in place of arguments.
    pub(crate) what: String,
}

impl Command for Note<'_> {
    /// The code of the error with which the server refused the entry.
    type Reply = Option<String>;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(keys.audit())
            .arg(&self.audit.who)
            .arg(self.what)
            .arg(self.audit.most);
    }

    fn parse(reply: Value) -> Result<Self::Reply, RedisError> {
        refusal(reply)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::TestServer;

    #[tokio::test]
    async fn note_is_written_to_the_audit_and_ignored_if_that_fails() {
        let mut server = TestServer::start().await;
        let audit = Audit {
            who: "me".to_owned(),
            most: 10,
        };
        let note = || Note {
            audit: &audit,
            what: "f:1:*".to_owned(),
        };
        let stream = server.keys.audit();
        assert_eq!(server.send(note()).await, None);
        let entries: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", &stream, "-", "+"]).await;
        let fields: Vec<_> = entries.into_iter().map(|(_, fields)| fields).collect();
        assert_eq!(fields, [["who", "me", "what", "f:1:*"]]);
        server.ask::<()>(&["SET", &stream, "foreign"]).await;
        let refusal = server.send(note()).await;
        assert_eq!(refusal.as_deref(), Some("WRONGTYPE"));
        assert_eq!(server.text(&stream).await, "foreign");
    }
}
