//! Guards a key while a transaction changes the data behind its value, and ends the guard.

use std::time::Duration;

use cache_core::tier::RecordKey;
pub(crate) use cache_core::tier::kit::Placement;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script_even_if_full};
use crate::config::Audit;
use crate::keys::Keys;
use crate::number::millis;

/// Places a guard on a key, or renews it. A new guard invalidates the key. The guards of a key are
/// a set with an expiry for each, because several transactions may guard the same key.
///
/// KEYS record, lease, guards, sequence, and the audit's stream if there is one.
/// ARGV guard, its life in ms, digest of the key, who, what and the length of the stream if there
/// is one, channel.
///
/// Replies with 1 if it is new.
pub(super) static GUARD: Script =
    Script::new(|| script_even_if_full(include_str!("lua/guard.lua")));

/// Removes a guard.
///
/// KEYS guards.
/// ARGV guard.
///
/// Replies with 1.
pub(super) static UNGUARD: Script =
    Script::new(|| script_even_if_full(include_str!("lua/unguard.lua")));

/// The names of a guarded key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GuardedKey {
    record: String,
    lease: String,
    guards: String,
    digest: u64,
    /// The text for the audit.
    what: String,
}

impl GuardedKey {
    pub(crate) fn new(keys: &Keys, key: &RecordKey) -> Self {
        Self {
            record: keys.record(key),
            lease: keys.lease(key),
            guards: keys.guards(key),
            digest: key.digest,
            what: format!("guarded {}", key.name()),
        }
    }
}

/// Places or renews a guard.
#[derive(Debug)]
pub(crate) struct PlaceGuard<'a> {
    pub(crate) key: &'a GuardedKey,
    /// The number of the guard.
    pub(crate) number: u64,
    /// The time after which it expires, from now on.
    pub(crate) life: Duration,
    pub(crate) audit: Option<&'a Audit>,
}

/// Ends a guard.
#[derive(Debug)]
pub(crate) struct EndGuard<'a> {
    pub(crate) key: &'a GuardedKey,
    /// The number of the guard.
    pub(crate) number: u64,
}

impl Command for PlaceGuard<'_> {
    type Reply = Placement;

    fn script(&self) -> &'static redis::Script {
        &GUARD
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation
            .key(&self.key.record)
            .key(&self.key.lease)
            .key(&self.key.guards)
            .key(keys.sequence())
            .arg(self.number)
            .arg(millis(self.life))
            .arg(self.key.digest);
        if let Some(audit) = self.audit {
            invocation
                .key(keys.audit())
                .arg(&audit.who)
                .arg(&self.key.what)
                .arg(audit.most);
        }
        invocation.arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Placement, RedisError> {
        Ok(match typed(reply)? {
            true => Placement::New,
            false => Placement::Renewed,
        })
    }
}

impl Command for EndGuard<'_> {
    type Reply = ();

    fn script(&self) -> &'static redis::Script {
        &UNGUARD
    }

    fn write(self, _: &Keys, invocation: &mut Invocation) {
        invocation.key(&self.key.guards).arg(self.number);
    }

    fn parse(reply: Value) -> Result<(), RedisError> {
        typed::<i64>(reply).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::lease::Reply;
    use crate::commands::testing::{MINUTE, TestServer, key};

    #[tokio::test]
    async fn new_guard_invalidates_the_key_and_keeps_it_until_it_is_ended() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let guarded = GuardedKey::new(&server.keys, &key);
        let place = |number| PlaceGuard {
            key: &guarded,
            number,
            life: MINUTE,
            audit: None,
        };
        let end = |number| EndGuard {
            key: &guarded,
            number,
        };
        server.lease(&key, 21).await;
        server.ask::<()>(&["SET", &guarded.record, "record"]).await;
        assert_eq!(server.send(place(1)).await, Placement::New);
        assert_eq!(server.messages().await, ["k:7"]);
        let left: u64 = server
            .ask(&["EXISTS", &guarded.record, &guarded.lease])
            .await;
        assert_eq!(left, 0, "record and lease are deleted");

        assert_eq!(server.send(place(1)).await, Placement::Renewed);
        assert!(server.messages().await.is_empty());
        assert_eq!(server.send(place(2)).await, Placement::New);
        server.send(end(1)).await;
        assert_eq!(server.lease(&key, 21).await, Reply::Guarded, "by the other");
        server.send(end(2)).await;
        assert!(matches!(
            server.lease(&key, 21).await,
            Reply::Granted { .. }
        ));
    }

    #[tokio::test]
    async fn guard_replaces_a_foreign_value_under_its_key() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let guarded = GuardedKey::new(&server.keys, &key);
        server.ask::<()>(&["SET", &guarded.guards, "foreign"]).await;
        server
            .send(EndGuard {
                key: &guarded,
                number: 1,
            })
            .await;
        let place = PlaceGuard {
            key: &guarded,
            number: 1,
            life: MINUTE,
            audit: None,
        };
        assert_eq!(server.send(place).await, Placement::New);
        assert_eq!(server.lease(&key, 21).await, Reply::Guarded);
        let expires: u64 = server.ask(&["PTTL", &guarded.guards]).await;
        assert!((1..=60_000).contains(&expires), "{expires}");
    }

    #[tokio::test]
    async fn new_guard_is_written_to_the_audit_and_its_renewal_is_not() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let guarded = GuardedKey::new(&server.keys, &key("1"));
        let audit = Audit {
            who: "me".to_owned(),
            most: 10,
        };
        let place = || PlaceGuard {
            key: &guarded,
            number: 1,
            life: MINUTE,
            audit: Some(&audit),
        };
        assert_eq!(server.send(place()).await, Placement::New);
        assert_eq!(server.send(place()).await, Placement::Renewed);
        assert_eq!(server.messages().await, ["k:7"]);
        let stream = server.keys.audit();
        let entries: Vec<(String, Vec<String>)> = server.ask(&["XRANGE", &stream, "-", "+"]).await;
        let fields: Vec<_> = entries.into_iter().map(|(_, fields)| fields).collect();
        let what = format!("guarded {}", key("1").name());
        assert_eq!(fields, [["who", "me", "what", &what]]);
    }
}
