//! Detects loads on several instances that wait for each other.

use std::time::Duration;

use cache_core::tier::{Deadlock, HeldLease, RecordKey};
use redis::{RedisError, Value};

use super::command::{Command, Invocation, typed};
use super::script::{Script, script_even_if_full};
use crate::keys::Keys;
use crate::number::millis;

/// Tells whether a wait for a lease closes a ring of loads that wait for each other, and notes the
/// wait.
///
/// The waits are edges of a graph, from a lease that is held to one that is waited for, in a hash
/// beside the former. An edge names the tokens of both, so it ends with either lease. The edges are
/// added and the graph is searched in one step: exactly one of the callers that close a ring gets
/// `present`, and its edges are removed, because it does not wait.
///
/// KEYS lease that is waited for; then, for each lease that cannot end before the wait does: lease,
/// its waits.
/// ARGV life of the edges in ms, then the token of each of those leases.
///
/// Replies with `present` or `absent`.
pub(super) static SCRIPT: Script =
    Script::new(|| script_even_if_full(include_str!("lua/deadlock.lua")));

/// Asks whether a wait would never end.
#[derive(Debug)]
pub(crate) struct DetectDeadlock<'a> {
    /// The key whose lease the caller wants to wait for.
    pub(crate) awaited: &'a RecordKey,
    /// The leases that cannot end before the wait does.
    pub(crate) held: &'a [HeldLease],
    /// The time after which the server forgets the wait.
    pub(crate) life: Duration,
}

impl Command for DetectDeadlock<'_> {
    type Reply = Deadlock;

    fn script(&self) -> &'static redis::Script {
        &SCRIPT
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.lease(self.awaited));
        for lease in self.held {
            invocation
                .key(keys.lease(&lease.key))
                .key(keys.waits(&lease.key));
        }
        invocation.arg(millis(self.life));
        for lease in self.held {
            invocation.arg(lease.token);
        }
    }

    fn parse(reply: Value) -> Result<Deadlock, RedisError> {
        let reply: String = typed(reply)?;
        Ok(match &*reply {
            "present" => Deadlock::Present,
            _ => Deadlock::Absent,
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::Level;

    use super::*;
    use crate::commands::testing::{MINUTE, TestServer, key};

    fn held(key: &RecordKey, token: u64) -> HeldLease {
        HeldLease::new(Level::L2, Arc::new(key.clone()), token)
    }

    fn detect<'a>(held: &'a [HeldLease], awaited: &'a RecordKey) -> DetectDeadlock<'a> {
        DetectDeadlock {
            awaited,
            held,
            life: MINUTE,
        }
    }

    #[tokio::test]
    async fn deadlock_is_present_for_the_caller_that_closes_the_ring() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let (a, b, c) = (key("a"), key("b"), key("c"));
        let [of_a, of_b, of_c] = [[held(&a, 21)], [held(&b, 22)], [held(&c, 23)]];
        server.lease(&a, 21).await;
        assert_eq!(server.send(detect(&of_a, &b)).await, Deadlock::Absent);
        let waits = server.keys.waits(&a);
        assert!(!server.ask::<bool>(&["EXISTS", &waits]).await, "b is free");
        server.lease(&b, 22).await;
        server.lease(&c, 23).await;
        assert_eq!(server.send(detect(&of_a, &b)).await, Deadlock::Absent);
        assert_eq!(server.send(detect(&of_b, &c)).await, Deadlock::Absent);
        let expires: i64 = server.ask(&["PTTL", &waits]).await;
        assert!((1..=60_000).contains(&expires), "{expires}");
        assert_eq!(server.send(detect(&of_c, &a)).await, Deadlock::Present);
        let waits = server.keys.waits(&c);
        let edges: u64 = server.ask(&["HLEN", &waits]).await;
        assert_eq!(edges, 0, "it does not wait");
        // An edge ends with either of its leases.
        server.ask::<()>(&["DEL", &server.keys.lease(&b)]).await;
        server.lease(&b, 32).await;
        assert_eq!(server.send(detect(&of_c, &a)).await, Deadlock::Absent);
    }

    #[test]
    fn unknown_word_is_no_deadlock() {
        let reply = DetectDeadlock::parse(Value::BulkString(b"other".to_vec()));
        assert_eq!(reply.unwrap(), Deadlock::Absent);
    }
}
