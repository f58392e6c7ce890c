//! Renews a lease while its load runs.

use std::time::Duration;

use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script};
use crate::keys::Keys;
use crate::number::millis;

/// Sets the expiry of a lease if it still has this token.
///
/// KEYS lease.
/// ARGV token, life in ms.
///
/// Replies with 1 if it was still held.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/renew.lua")));

/// Renews a lease.
#[derive(Debug)]
pub(crate) struct Renew<'a> {
    /// The name of its key.
    pub(crate) lease: &'a str,
    pub(crate) token: u64,
    /// The time after which it expires, from now on.
    pub(crate) life: Duration,
}

/// Reply to a renewal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Renewed,
    NotHeld,
}

impl Command for Renew<'_> {
    type Reply = Reply;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, _: &Keys, invocation: &mut Invocation) {
        invocation
            .key(self.lease)
            .arg(self.token)
            .arg(millis(self.life));
    }

    fn parse(reply: Value) -> Result<Reply, RedisError> {
        Ok(match typed::<i64>(reply)? {
            1 => Reply::Renewed,
            _ => Reply::NotHeld,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn lease_is_renewed_by_its_token() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let name = server.keys.lease(&key);
        let renew = |token| Renew {
            lease: &name,
            token,
            life: Duration::from_secs(1000),
        };
        assert_eq!(server.send(renew(21)).await, Reply::NotHeld);
        server.lease(&key, 21).await;
        assert_eq!(server.send(renew(22)).await, Reply::NotHeld);
        let expires: u64 = server.ask(&["PTTL", &name]).await;
        assert!(expires <= 60_000, "{expires}");
        assert_eq!(server.send(renew(21)).await, Reply::Renewed);
        let expires: u64 = server.ask(&["PTTL", &name]).await;
        assert!(expires > 60_000, "{expires}");
    }
}
