//! Waits for leases of several shards, as each shard notes them.
//!
//! The edges are those of [`deadlock`](super::deadlock), in the same hashes. An edge to a lease of
//! another shard has the name of its key as its field and `<token>:<shard>:<token>` as its value:
//! its key is in another slot, so no script may read it. The script that looks for rings inside the
//! shard finds no such edge, because the value has three parts.

use std::time::Duration;

use cache_core::tier::{AwaitedLease, HeldLease, RecordKey};
use redis::{RedisError, Value};

use super::command::{Command, Invocation, number, typed};
use super::script::{Script, script_even_if_full};
use crate::keys::Keys;
use crate::number::millis;

/// Asks which lease callers of a key wait for.
///
/// KEYS lease.
///
/// Replies with its token, or with nothing.
pub(super) static HOLDER: Script =
    Script::new(|| script_even_if_full(include_str!("lua/holder.lua")));

/// Notes or removes a wait of leases of this shard, as far as they are still held.
///
/// KEYS for each lease: lease, its waits.
/// ARGV life of the edges in ms or 0 to remove them, field, value without the lease's own token,
/// then the token of each lease.
pub(super) static NOTE: Script =
    Script::new(|| script_even_if_full(include_str!("lua/note_waits.lua")));

/// Asks what the loads under leases of this shard wait for. Leases that are not held any more wait
/// for nothing.
///
/// KEYS for each lease: lease, its waits.
/// ARGV the token of each lease.
///
/// Replies with the field, and the value without the lease's own token, of each edge.
pub(super) static WAITS_OF: Script =
    Script::new(|| script_even_if_full(include_str!("lua/waits_of.lua")));

/// Asks which lease callers of a key wait for.
#[derive(Debug)]
pub(crate) struct AskHolder<'a>(pub(crate) &'a RecordKey);

impl Command for AskHolder<'_> {
    type Reply = Option<u64>;

    fn script(&self) -> &'static redis::Script {
        &HOLDER
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        invocation.key(keys.lease(self.0));
    }

    fn parse(reply: Value) -> Result<Option<u64>, RedisError> {
        let token: Vec<u8> = typed(reply)?;
        Ok(number(&token))
    }
}

/// Notes or removes a wait.
#[derive(Debug)]
pub(crate) struct NoteWaits<'a> {
    /// The leases whose loads wait.
    pub(crate) held: &'a [HeldLease],
    pub(crate) awaited: &'a AwaitedLease,
    /// The index of this shard.
    pub(crate) shard: u8,
    /// The time after which the server forgets the wait; `None` removes it now.
    pub(crate) life: Option<Duration>,
}

impl Command for NoteWaits<'_> {
    type Reply = ();

    fn script(&self) -> &'static redis::Script {
        &NOTE
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        for lease in self.held {
            invocation
                .key(keys.lease(&lease.key))
                .key(keys.waits(&lease.key));
        }
        let AwaitedLease {
            shard, name, token, ..
        } = self.awaited;
        invocation.arg(self.life.map_or(0, millis));
        match *shard == self.shard {
            true => invocation.arg(keys.lease_named(name)).arg(*token),
            false => invocation.arg(name).arg(format!("{shard}:{token}")),
        };
        for lease in self.held {
            invocation.arg(lease.token);
        }
    }

    fn parse(reply: Value) -> Result<(), RedisError> {
        typed(reply)
    }
}

/// Asks what the loads under leases wait for.
#[derive(Debug)]
pub(crate) struct AskWaits<'a>(pub(crate) &'a [AwaitedLease]);

/// The edges of some leases: field, and value without the lease's own token.
#[derive(Debug)]
pub(crate) struct Edges(Vec<(String, String)>);

impl Edges {
    /// Returns the leases that the edges lead to. `shard` is the index of this shard.
    pub(crate) fn awaited(self, keys: &Keys, shard: u8) -> Vec<AwaitedLease> {
        let awaited = |(field, value): (String, String)| match value.split_once(':') {
            Some((shard, token)) => {
                let (shard, token) = (shard.parse().ok()?, token.parse().ok()?);
                Some(AwaitedLease::new(shard, field, token))
            }
            None => {
                let name = keys.name_of_lease(&field)?.to_owned();
                Some(AwaitedLease::new(shard, name, value.parse().ok()?))
            }
        };
        self.0.into_iter().filter_map(awaited).collect()
    }
}

impl Command for AskWaits<'_> {
    type Reply = Edges;

    fn script(&self) -> &'static redis::Script {
        &WAITS_OF
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        for AwaitedLease { name, token, .. } in self.0 {
            invocation
                .key(keys.lease_named(name))
                .key(keys.waits_named(name))
                .arg(*token);
        }
    }

    fn parse(reply: Value) -> Result<Edges, RedisError> {
        typed(reply).map(Edges)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use cache_core::Level;
    use cache_core::tier::Deadlock;

    use super::*;
    use crate::commands::deadlock::DetectDeadlock;
    use crate::commands::testing::{MINUTE, TestServer, key};

    fn held(key: &RecordKey, token: u64) -> HeldLease {
        HeldLease::new(Level::L2, Arc::new(key.clone()), token)
    }

    /// A lease that the test's own shard granted, of index 0.
    fn of_own(key: &RecordKey, token: u64) -> AwaitedLease {
        AwaitedLease::new(0, key.name(), token)
    }

    fn of_other(name: &str, token: u64) -> AwaitedLease {
        AwaitedLease::new(3, name.to_owned(), token)
    }

    impl TestServer {
        async fn note(&mut self, held: &[HeldLease], awaited: &AwaitedLease) {
            self.note_for(held, awaited, Some(MINUTE)).await;
        }

        async fn note_for(
            &mut self,
            held: &[HeldLease],
            awaited: &AwaitedLease,
            life: Option<Duration>,
        ) {
            self.send(NoteWaits {
                held,
                awaited,
                shard: 0,
                life,
            })
            .await;
        }

        async fn waits_of(&mut self, leases: &[AwaitedLease]) -> Vec<AwaitedLease> {
            let edges = self.send(AskWaits(leases)).await;
            let mut waits = edges.awaited(&self.keys, 0);
            waits.sort_by_key(|awaited| awaited.token);
            waits
        }

        async fn deadlock(&mut self, held: &[HeldLease], awaited: &RecordKey) -> Deadlock {
            self.send(DetectDeadlock {
                awaited,
                held,
                life: MINUTE,
            })
            .await
        }
    }

    #[tokio::test]
    async fn waits_for_leases_of_this_and_of_other_shards_are_returned_while_the_lease_is_held() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let (a, b) = (key("a"), key("b"));
        assert_eq!(server.send(AskHolder(&a)).await, None);
        server.lease(&a, 21).await;
        server.lease(&b, 22).await;
        assert_eq!(server.send(AskHolder(&b)).await, Some(22));
        let (of_a, of_b) = ([held(&a, 21)], [held(&b, 22)]);
        assert_eq!(server.deadlock(&of_a, &b).await, Deadlock::Absent);
        server.note(&of_a, &of_other("f:1:c", 31)).await;
        server.note(&of_b, &of_other("f:1:d", 32)).await;
        // Noted by the holder of a lease that ended, so it is not noted.
        server.note(&[held(&a, 20)], &of_other("f:1:e", 33)).await;
        let asked = [of_own(&a, 21), of_own(&b, 22), of_own(&b, 23)];
        let waits = server.waits_of(&asked).await;
        let expected = [of_own(&b, 22), of_other("f:1:c", 31), of_other("f:1:d", 32)];
        assert_eq!(waits, expected);
        let waits = server.keys.waits(&b);
        let expires: i64 = server.ask(&["PTTL", &waits]).await;
        assert!((1..=60_000).contains(&expires), "{expires}");
        server.ask::<()>(&["DEL", &server.keys.lease(&a)]).await;
        server.lease(&a, 41).await;
        let asked = [of_own(&a, 21), of_own(&a, 41)];
        assert_eq!(server.waits_of(&asked).await, []);
    }

    #[tokio::test]
    async fn wait_is_removed_by_the_caller_whose_lease_is_held() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let (a, b) = (key("a"), key("b"));
        server.lease(&a, 21).await;
        server.lease(&b, 22).await;
        let of_a = [held(&a, 21)];
        let (own, other) = (of_own(&b, 22), of_other("f:1:c", 31));
        assert_eq!(server.deadlock(&of_a, &b).await, Deadlock::Absent);
        server.note(&of_a, &other).await;
        for awaited in [&own, &other] {
            server.note_for(&[held(&a, 20)], awaited, None).await;
        }
        let asked = [of_own(&a, 21)];
        let waits = server.waits_of(&asked).await;
        assert_eq!(waits, [own.clone(), other.clone()]);
        server.note_for(&of_a, &own, None).await;
        assert_eq!(server.waits_of(&asked).await, slice_of(&other));
        server.note_for(&of_a, &other, None).await;
        assert_eq!(server.waits_of(&asked).await, []);
    }

    #[tokio::test]
    async fn ring_inside_the_shard_is_found_beside_waits_for_other_shards() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let (a, b) = (key("a"), key("b"));
        server.lease(&a, 21).await;
        server.lease(&b, 22).await;
        let (of_a, of_b) = ([held(&a, 21)], [held(&b, 22)]);
        // A key of another shard may have the token of a lease of this shard.
        server.note(&of_a, &of_other(&b.name(), 22)).await;
        let lease = server.keys.lease(&b);
        server.note(&of_a, &of_other(&lease, 22)).await;
        assert_eq!(server.deadlock(&of_b, &a).await, Deadlock::Absent);
        assert_eq!(server.deadlock(&of_a, &b).await, Deadlock::Present);
    }

    #[tokio::test]
    async fn foreign_values_are_replaced_or_skipped() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let a = key("a");
        server.lease(&a, 21).await;
        let (waits, asked) = (server.keys.waits(&a), [of_own(&a, 21)]);
        server.ask::<()>(&["SET", &waits, "foreign"]).await;
        assert_eq!(server.waits_of(&asked).await, []);
        let other = of_other("f:1:c", 31);
        server.note_for(&[held(&a, 21)], &other, None).await;
        server.note(&[held(&a, 21)], &other).await;
        for value in ["", "21:", "21:x", "21:3:4:5", "21:999:1", "21:22"] {
            server.ask::<()>(&["HSET", &waits, value, value]).await;
        }
        assert_eq!(server.waits_of(&asked).await, [other]);
    }

    fn slice_of(awaited: &AwaitedLease) -> &[AwaitedLease] {
        std::slice::from_ref(awaited)
    }
}
