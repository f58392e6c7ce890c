//! Invalidates a key, a function, or everything.
//!
//! Each of the scripts deletes first, because a full server refuses a script whose first write may
//! take memory, but completes one that began with a deletion.

use std::fmt::Write;

use cache_core::tier::Target;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script};
use crate::config::Audit;
use crate::keys::{Keys, LEASE};
use crate::server::Identity;

/// Invalidates a key.
///
/// KEYS record, lease, sequence, and the audit's stream if there is one.
/// ARGV digest of the key; who, what and the stream's length, if there is one; channel.
///
/// Replies with the number of clients that receive the message, and with 1, or with the code of the
/// error if the server refused the entry of the audit.
pub(super) static KEY: Script = Script::new(|| script(include_str!("lua/invalidate_key.lua")));

/// Invalidates several keys in one step, which one message announces.
///
/// KEYS sequence; for each key: record, lease.
/// ARGV digests of the keys with a colon between them, channel.
///
/// Replies with 1.
pub(super) static KEYS: Script = Script::new(|| script(include_str!("lua/invalidate_keys.lua")));

/// Invalidates a function: its records, and the fills under its leases, carry the old epoch.
///
/// KEYS epoch, sequence, and the audit's stream if there is one.
/// ARGV new epoch, digest of the function; who, what and the stream's length, if there is one;
/// channel.
///
/// Replies with the number of clients that receive the message, and with 1, or with the code of the
/// error if the server refused the entry of the audit.
pub(super) static FUNCTION: Script =
    Script::new(|| script(include_str!("lua/invalidate_function.lua")));

/// Invalidates the namespace: a new history begins on the same server.
///
/// KEYS history, sequence, and the audit's stream if there is one.
/// ARGV new number, identity; who, what and the stream's length, if there is one; channel.
///
/// Replies with the number of clients that receive the message, and with 1, or with the code of the
/// error if the server refused the entry of the audit.
pub(super) static ALL: Script = Script::new(|| script(include_str!("lua/invalidate_all.lua")));

/// Replaces the history that a shard has, and begins none.
///
/// KEYS, ARGV and the reply are those of [`ALL`]. A history that was begun for another number of
/// shards is an error.
#[cfg(feature = "inspect")]
pub(super) static HISTORY: Script = Script::new(|| script(include_str!("lua/replace_history.lua")));

/// Reply to an invalidation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Announced {
    /// The number of clients of this server that receive the message.
    pub(crate) listeners: u64,
    /// The code of the error with which the server refused the entry of the audit.
    pub(crate) refusal: Option<String>,
}

impl Announced {
    fn parse(reply: Value) -> Result<Self, RedisError> {
        let (listeners, recorded): (u64, Value) = typed(reply)?;
        Ok(Self {
            listeners,
            refusal: refusal(recorded)?,
        })
    }
}

/// Returns the code of the error with which the server refused an entry of the audit.
pub(super) fn refusal(recorded: Value) -> Result<Option<String>, RedisError> {
    match recorded {
        Value::Int(1) => Ok(None),
        code => typed(code).map(Some),
    }
}

/// Invalidates, and publishes a message of it.
#[derive(Debug)]
pub(crate) struct Invalidate<'a> {
    pub(crate) target: Target<'a>,
    /// The epoch or the history that may begin.
    pub(crate) fresh: u64,
    /// The server that a history begins on.
    pub(crate) identity: &'a Identity,
    pub(crate) audit: Option<&'a Audit>,
}

impl Invalidate<'_> {
    /// The number of the history that the command begins.
    pub(crate) fn new_history(&self) -> Option<u64> {
        match self.target {
            Target::All => Some(self.fresh),
            Target::Key(_) | Target::Function(_) => None,
        }
    }
}

impl Command for Invalidate<'_> {
    type Reply = Announced;

    fn script(&self) -> &'static redis::Script {
        match self.target {
            Target::Key(_) => &KEY,
            Target::Function(_) => &FUNCTION,
            Target::All => &ALL,
        }
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        match self.target {
            Target::Key(key) => invocation
                .key(keys.record(key))
                .key(keys.lease(key))
                .arg(key.digest),
            Target::Function(function) => invocation
                .key(keys.epoch(function))
                .arg(self.fresh)
                .arg(function.digest),
            Target::All => invocation
                .key(keys.history())
                .arg(self.fresh)
                .arg(self.identity.to_string()),
        };
        invocation.key(keys.sequence());
        if let Some(audit) = self.audit {
            invocation
                .key(keys.audit())
                .arg(&audit.who)
                .arg(name_in_audit(self.target))
                .arg(audit.most);
        }
        invocation.arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Announced, RedisError> {
        Announced::parse(reply)
    }
}

/// Invalidates everything in a shard that has a history, for a tool. A tool must not begin a
/// history: only instances know the number of shards that the namespace is to have.
#[cfg(feature = "inspect")]
#[derive(Debug)]
pub(crate) struct ReplaceHistory<'a>(pub(crate) Invalidate<'a>);

#[cfg(feature = "inspect")]
impl Command for ReplaceHistory<'_> {
    type Reply = Announced;

    fn script(&self) -> &'static redis::Script {
        &HISTORY
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        self.0.write(keys, invocation);
    }

    fn parse(reply: Value) -> Result<Announced, RedisError> {
        Announced::parse(reply)
    }
}

/// A key that is invalidated together with others.
#[derive(Debug)]
pub(crate) struct InvalidatedKey {
    /// The name of the record, beside which the lease is.
    pub(crate) record: String,
    /// The digest of the key.
    pub(crate) digest: u64,
}

/// Invalidates several keys, of which there is at least one. There is no audit of it.
#[derive(Debug)]
pub(crate) struct InvalidateKeys<'a>(pub(crate) &'a [InvalidatedKey]);

impl Command for InvalidateKeys<'_> {
    type Reply = ();

    fn script(&self) -> &'static redis::Script {
        &KEYS
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.sequence());
        let mut digests = String::with_capacity(self.0.len() * 21);
        for key in self.0 {
            invocation.key(&key.record).key_beside(&key.record, LEASE);
            if !digests.is_empty() {
                digests.push(':');
            }
            // Writing to memory does not fail.
            let _ = write!(digests, "{}", key.digest);
        }
        invocation.arg(digests).arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<(), RedisError> {
        typed::<i64>(reply).map(drop)
    }
}

fn name_in_audit(target: Target<'_>) -> String {
    match target {
        Target::Key(key) => key.name(),
        Target::Function(function) => function.versioned(),
        Target::All => "*".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{EPOCH, TestServer, key};

    async fn invalidate(
        server: &mut TestServer,
        target: Target<'_>,
        audit: Option<&Audit>,
    ) -> Announced {
        let command = Invalidate {
            target,
            fresh: 99,
            identity: &Identity::named("server"),
            audit,
        };
        server.send(command).await
    }

    #[tokio::test]
    async fn invalidation_deletes_its_target_and_notifies_all_instances() {
        let mut server = TestServer::start().await;
        let last = server.attach().await.last;
        let key = key("1");
        let [record, lease, epoch, history] = [
            server.keys.record(&key),
            server.keys.lease(&key),
            server.keys.epoch(&key.function),
            server.keys.history(),
        ];
        let function = key.function.digest;
        server.lease(&key, 21).await;
        server.ask::<()>(&["SET", &record, "record"]).await;
        invalidate(&mut server, Target::Key(&key), None).await;
        let left: u64 = server.ask(&["EXISTS", &record, &lease]).await;
        assert_eq!(left, 0, "record and lease are deleted");
        assert_eq!(server.text(&epoch).await, EPOCH.to_string());
        assert_eq!(server.messages().await, ["k:7"]);

        invalidate(&mut server, Target::Function(&key.function), None).await;
        assert_eq!(server.text(&epoch).await, "99");
        assert_eq!(server.messages().await, [format!("e:{function}")]);

        invalidate(&mut server, Target::All, None).await;
        assert_eq!(server.text(&history).await, "99:server-server");
        assert_eq!(server.messages().await, ["h:99"]);
        let sequence = server.text(&server.keys.sequence()).await;
        assert_eq!(sequence, (last + 3).to_string(), "no number is missing");
    }

    #[tokio::test]
    async fn invalidation_is_written_to_the_audit_and_done_even_if_that_fails() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let audit = Audit {
            who: "me".to_owned(),
            most: 10,
        };
        for target in [
            Target::Key(&key),
            Target::Function(&key.function),
            Target::All,
        ] {
            invalidate(&mut server, target, Some(&audit)).await;
        }
        let stream = server.keys.audit();
        let entries: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", &stream, "-", "+"]).await;
        let entries: Vec<_> = entries.into_iter().map(|(_, fields)| fields).collect();
        let entry = |what: &str| ["who", "me", "what", what].map(str::to_owned).to_vec();
        assert_eq!(entries, [entry("f:1:1"), entry("f:1"), entry("*")]);
        assert_eq!(server.messages().await.len(), 3);

        server.ask::<()>(&["SET", &stream, "foreign"]).await;
        let refused = invalidate(&mut server, Target::Key(&key), Some(&audit)).await;
        assert_eq!(server.messages().await, ["k:7"]);
        assert!(
            refused.refusal.as_deref() == Some("WRONGTYPE") && refused.listeners == 1,
            "{refused:?}"
        );
    }

    #[cfg(feature = "inspect")]
    #[tokio::test]
    async fn tool_replaces_the_history_of_its_layout_and_begins_none() {
        let mut server = TestServer::start().await;
        let history = server.keys.history();
        let identity = Identity::named("server");
        let replace = || {
            ReplaceHistory(Invalidate {
                target: Target::All,
                fresh: 99,
                identity: &identity,
                audit: None,
            })
        };
        server.ask::<()>(&["DEL", &history]).await;
        server.send(replace()).await;
        assert_eq!(server.text(&history).await, "", "none is begun");
        server.attach().await;
        server.messages().await;
        server.send(replace()).await;
        assert_eq!(server.text(&history).await, "99:server-server");
        assert_eq!(server.messages().await, ["h:99"]);
        let other = "5:server-server#8";
        server.ask::<()>(&["SET", &history, other]).await;
        let (connection, keys) = (&mut server.connection, &server.keys);
        let refused = crate::commands::send(connection, keys, replace()).await;
        assert_eq!(refused.unwrap_err().code(), Some("OTHERLAYOUT"));
        assert_eq!(server.text(&history).await, other);
    }

    #[tokio::test]
    async fn several_keys_are_invalidated_in_one_step_and_announced_by_one_message() {
        let mut server = TestServer::start().await;
        let last = server.attach().await.last;
        let keys = ["1", "2"].map(|arguments| InvalidatedKey {
            record: server.keys.record(&key(arguments)),
            digest: arguments.parse().unwrap(),
        });
        for key in &keys {
            let lease = format!("{}{LEASE}", key.record);
            let set = ["MSET", &key.record, "record", &lease, "21:11:5:x"];
            server.ask::<()>(&set).await;
        }
        server.send(InvalidateKeys(&keys)).await;
        for key in &keys {
            let lease = format!("{}{LEASE}", key.record);
            let left: u64 = server.ask(&["EXISTS", &key.record, &lease]).await;
            assert_eq!(left, 0, "record and lease are deleted");
        }
        assert_eq!(server.messages().await, ["k:1:2"]);
        let sequence = server.text(&server.keys.sequence()).await;
        assert_eq!(sequence, (last + 1).to_string(), "one message");
    }

    #[test]
    fn only_the_invalidation_of_everything_begins_a_history() {
        let key = key("1");
        let new_history = |target| {
            let command = Invalidate {
                target,
                fresh: 99,
                identity: &Identity::named("server"),
                audit: None,
            };
            command.new_history()
        };
        assert_eq!(new_history(Target::Key(&key)), None);
        assert_eq!(new_history(Target::Function(&key.function)), None);
        assert_eq!(new_history(Target::All), Some(99));
    }
}
