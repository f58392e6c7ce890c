//! Releases a lease whose load stored nothing.

use std::time::Duration;

use cache_core::tier::BackOff;
use redis::{RedisError, ScriptInvocation, Value};

use super::command::{Command, typed};
use super::script::{Script, script};
use crate::keys::Keys;
use crate::number::millis;

/// Ends a lease if it still has this token, and notifies its waiters.
///
/// If the key is to be backed off, a mark takes the place of the lease:
/// `failures:epoch:history:b`, under the numbers of the lease. It is no lease, so nothing can be
/// filled under it, and what deletes or replaces a lease deletes or replaces it. It lives for the
/// back-off and [`FAILURES_REMEMBERED`], so that the next failure counts on. A build that does not
/// know the mark treats it as a missing lease.
///
/// KEYS lease, sequence.
/// ARGV token, digest of the key, kind of the message to waiters (`r`, or `x` if the load failed),
/// failed loads in a row or nothing, life of the mark in ms, channel.
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
    pub(crate) reason: Reason,
    /// The back-off that begins now, after a load that failed.
    pub(crate) back_off: Option<BackOff>,
}

/// The time after a back-off for which the number of failures is remembered.
pub(super) const FAILURES_REMEMBERED: Duration = Duration::from_secs(2 * 60);

/// The longest back-off that is kept. A mark that lives longer (the clock was set back, a dump was
/// restored) is shortened to that.
pub(super) const LONGEST_BACK_OFF: Duration = Duration::from_secs(75);

/// Why a lease is released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reason {
    /// Nothing is to be stored. A waiter loads.
    NotFilled,
    /// The load failed. Waiters on other instances do not wait for another one.
    LoadFailed,
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

    fn write(self, keys: &Keys, invocation: &mut ScriptInvocation<'_>) {
        let kind = match self.reason {
            Reason::NotFilled => "r",
            Reason::LoadFailed => "x",
        };
        invocation
            .key(self.lease)
            .key(keys.sequence())
            .arg(self.token)
            .arg(self.digest)
            .arg(kind);
        match self.back_off {
            None => invocation.arg("").arg(0),
            Some(back_off) => invocation.arg(back_off.failures).arg(millis(
                back_off.lasts.min(LONGEST_BACK_OFF) + FAILURES_REMEMBERED,
            )),
        };
        invocation.arg(keys.channel());
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
    use cache_core::tier::{FillResult, Lease, LeaseMode, RecordKey, Refusal, Stamp, Target};

    use super::*;
    use crate::commands::fill::StoreRecord;
    use crate::commands::invalidate::Invalidate;
    use crate::commands::lease;
    use crate::commands::lease::TakeLease;
    use crate::commands::testing::{EPOCH, HISTORY, TestServer, key, take_lease};
    use crate::server::Identity;

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
            back_off: None,
        };
        server.lease(&key, 21).await;
        let reply = server.send(release(22, Reason::NotFilled)).await;
        assert_eq!(reply, Reply::NotHeld);
        assert_eq!(server.text(&name).await, "21:11:5:x");
        let reply = server.send(release(21, Reason::NotFilled)).await;
        assert_eq!(reply, Reply::Released);
        assert_eq!(server.text(&name).await, "");
        assert!(server.messages().await.is_empty(), "no caller waits");

        for (reason, message) in [(Reason::NotFilled, "r:7"), (Reason::LoadFailed, "x:7")] {
            server.lease(&key, 21).await;
            server.lease(&key, 22).await;
            let reply = server.send(release(21, reason)).await;
            assert_eq!(reply, Reply::Released);
            assert_eq!(server.messages().await, [message]);
        }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// Fails the load under the lease with this token, which asks for a back-off of a second.
    async fn fail(server: &mut TestServer, key: &RecordKey, token: u64, failures: u32) -> Reply {
        let back_off = BackOff {
            failures,
            lasts: SECOND,
        };
        let release = Release {
            lease: &server.keys.lease(key),
            token,
            digest: key.digest,
            reason: Reason::LoadFailed,
            back_off: Some(back_off),
        };
        server.send(release).await
    }

    fn granted(token: u64, failures: u32) -> lease::Reply {
        lease::Reply::Granted {
            token,
            epoch: EPOCH,
            failures,
        }
    }

    fn refresh(key: &RecordKey, token: u64) -> TakeLease<'_> {
        TakeLease {
            mode: LeaseMode::Refresh,
            ..take_lease(key, token)
        }
    }

    #[tokio::test]
    async fn failed_load_backs_off_refreshes_alone_and_the_number_of_failures_is_kept() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let name = server.keys.lease(&key);
        assert_eq!(server.send(refresh(&key, 21)).await, granted(21, 0));
        assert_eq!(server.text(&name).await, "21:11:5:x");
        assert_eq!(fail(&mut server, &key, 22, 1).await, Reply::NotHeld);
        assert_eq!(fail(&mut server, &key, 21, 1).await, Reply::Released);
        assert_eq!(server.text(&name).await, "1:11:5:b");
        let reply = server.send(refresh(&key, 22)).await;
        let lease::Reply::BackedOff { left } = reply else {
            panic!("the key is backed off: {reply:?}");
        };
        assert!(!left.is_zero() && left <= SECOND, "{left:?}");
        // The back-off has ended, and the number of failures is remembered.
        let remembered = millis(FAILURES_REMEMBERED).to_string();
        server.ask::<()>(&["PEXPIRE", &name, &remembered]).await;
        assert_eq!(server.send(refresh(&key, 23)).await, granted(23, 1));
        assert_eq!(fail(&mut server, &key, 23, 2).await, Reply::Released);
        // A caller without a value loads.
        assert_eq!(server.lease(&key, 24).await, granted(24, 2));
        assert_eq!(server.text(&name).await, "24:11:5:x");
    }

    #[tokio::test]
    async fn mark_of_a_failed_load_is_no_lease_and_ends_with_an_invalidation() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let name = server.keys.lease(&key);
        server.lease(&key, 21).await;
        fail(&mut server, &key, 21, 1).await;
        for token in [1, 21] {
            let stamp = Stamp {
                epoch: EPOCH,
                history: HISTORY,
            };
            let store = StoreRecord {
                key: &key,
                lease: &Lease::new(token, stamp),
                record: b"record".to_vec(),
                life: SECOND,
            };
            let refused = FillResult::Refused(Refusal::Lease);
            assert_eq!(server.send(store).await, refused, "token {token}");
        }
        // Under another epoch, or in another history, the mark is none.
        for other in ["1:12:5:b", "1:11:6:b", "x:11:5:b", "1:11:5:b:"] {
            server.ask::<()>(&["SET", &name, other]).await;
            assert_eq!(
                server.send(refresh(&key, 31)).await,
                granted(31, 0),
                "{other}"
            );
        }
        server.ask::<()>(&["SET", &name, "1:11:5:b"]).await;
        let invalidate = Invalidate {
            target: Target::Key(&key),
            fresh: 99,
            identity: &Identity::named("server"),
            audit: None,
        };
        server.send(invalidate).await;
        assert_eq!(server.text(&name).await, "");
    }

    /// The clock of the server was set back, or a dump was restored.
    #[tokio::test]
    async fn mark_that_would_last_too_long_is_shortened_and_one_without_an_expiry_has_ended() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let name = server.keys.lease(&key);
        server.lease(&key, 21).await;
        server
            .ask::<()>(&["SET", &name, "7:11:5:b", "EX", "86400"])
            .await;
        let reply = server.send(refresh(&key, 22)).await;
        let left = LONGEST_BACK_OFF;
        assert_eq!(reply, lease::Reply::BackedOff { left });
        let expires: u64 = server.ask(&["PTTL", &name]).await;
        assert!(u128::from(expires) <= (LONGEST_BACK_OFF + FAILURES_REMEMBERED).as_millis());
        server.ask::<()>(&["SET", &name, "7:11:5:b"]).await;
        assert_eq!(server.send(refresh(&key, 23)).await, granted(23, 7));
    }
}
