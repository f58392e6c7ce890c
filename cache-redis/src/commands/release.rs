//! Releases a lease whose load stored nothing.

use std::time::Duration;

pub(crate) use cache_core::tier::kit::ReleaseReason;
use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script};
use crate::keys::Keys;
use crate::number::millis;

/// Deletes a lease if it still has this token, and notifies its waiters. If the load failed and the
/// key is to be backed off, the back-off takes the place of the lease, with its epoch and history:
/// if the function was invalidated since the lease was granted, it is void like the lease.
///
/// The deletion comes first, so that a full server completes the script.
///
/// KEYS lease, sequence.
/// ARGV token, digest of the key, kind of the message to waiters (`r`, or `x` if the load failed),
/// number of failures or 0 for no back-off, back-off in ms, channel.
///
/// Replies with 1 if it was still held.
pub(super) static SCRIPT: Script = Script::new(|| script(include_str!("lua/release.lua")));

/// Releases a lease.
#[derive(Debug)]
pub(crate) struct Release<'a> {
    /// The name of its key.
    pub(crate) lease: &'a str,
    pub(crate) token: u64,
    /// The digest of the key that it may fill.
    pub(crate) digest: u64,
    pub(crate) reason: ReleaseReason,
}

/// Reply to a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    Released,
    NotHeld,
}

impl Command for Release<'_> {
    type Reply = Reply;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        let (kind, back_off) = match self.reason {
            ReleaseReason::NotFilled => ("r", None),
            ReleaseReason::LoadFailed(back_off) => ("x", back_off),
        };
        let failures = back_off.map_or(0, |back_off| back_off.failures.max(1));
        let lasts = back_off.map_or(Duration::ZERO, |back_off| back_off.lasts);
        invocation
            .key(self.lease)
            .key(keys.sequence())
            .arg(self.token)
            .arg(self.digest)
            .arg(kind)
            .arg(failures)
            .arg(millis(lasts))
            .arg(keys.channel());
    }

    fn parse(reply: Value) -> Result<Reply, RedisError> {
        Ok(match typed::<i64>(reply)? {
            1 => Reply::Released,
            _ => Reply::NotHeld,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    #[tokio::test]
    async fn lease_is_released_by_its_token_and_waiters_learn_the_reason() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let name = server.keys.lease(&key);
        let release = |token, reason| Release {
            lease: &name,
            token,
            digest: key.digest,
            reason,
        };
        server.lease(&key, 21).await;
        let reply = server.send(release(22, ReleaseReason::NotFilled)).await;
        assert_eq!(reply, Reply::NotHeld);
        assert_eq!(server.text(&name).await, "21:11:5:x");
        let reply = server.send(release(21, ReleaseReason::NotFilled)).await;
        assert_eq!(reply, Reply::Released);
        assert_eq!(server.text(&name).await, "");
        assert!(server.messages().await.is_empty(), "no caller waits");

        for (reason, message) in [
            (ReleaseReason::NotFilled, "r:7"),
            (ReleaseReason::LoadFailed(None), "x:7"),
        ] {
            server.lease(&key, 21).await;
            server.lease(&key, 22).await;
            let reply = server.send(release(21, reason)).await;
            assert_eq!(reply, Reply::Released);
            assert_eq!(server.messages().await, [message]);
        }
    }
}
