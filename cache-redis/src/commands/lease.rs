//! Takes a lease, the right to fill one key.

use std::time::Duration;

use cache_core::tier::{LeaseMode, Mark, RecordKey, Stamp};
use redis::{RedisError, RedisWrite, ToRedisArgs, Value};

use super::command::{Command, Invocation, number, typed};
use super::ledger::mark_of;
use super::script::{Script, marked, script_even_if_full};
use crate::keys::Keys;
use crate::number::millis;

/// Grants a lease: a token under a key of its own, which an invalidation deletes. The epoch of the
/// function is read in the same step, and made if it is missing.
///
/// An exclusive request replaces a lease that others share, and their fills are refused then,
/// because they did not check whether there is a record. While the key is guarded, no lease is
/// granted.
///
/// This cache writes no lease without an expiry, so a lease without one is replaced at once. A
/// lease that expires later than the caller's own would (the clock was set back, a dump was
/// restored) is shortened to that: a holder that lives renews it, and no caller waits longer for
/// one that crashed.
///
/// A back-off under the key of the lease keeps a `refresh` away while it lasts, and no other mode.
/// It is replaced by the lease that is granted, whose holder learns the number of failures. Like a
/// lease, a back-off without an expiry is none, and one that would last longer than the longest is
/// shortened to that.
///
/// An evicted epoch is restored if the caller knows it and has applied every message: otherwise the
/// function may have been invalidated since. An evicted history is restored after a barrier.
///
/// KEYS record, lease, epoch, history, guards, sequence. ARGV mode (`only`, `refresh`, `share`,
/// `takeover`, `look`), new token, life of the lease in ms, new epoch, number of the history,
/// header of the record that the caller has read, epoch that the caller knows or nothing, last
/// message that it has applied.
///
/// Replies with one of:
/// - `given`, the token, the epoch, the number of loads that failed in a row before;
/// - `free`: to `look`, which takes nothing;
/// - `taken`, the ms until the lease expires, or zero if the record has been replaced;
/// - `backedoff`, the ms that are left: to `refresh`;
/// - `guarded`;
/// - `history`: the caller's history is not the current one, or was flushed with the sequence;
/// - `evicted`: the history alone is missing.
pub(super) static SCRIPT: Script =
    Script::new(|| script_even_if_full(include_str!("lua/lease.lua")));

/// Does the same for a key of a marked function, and returns the state of the ledger with the
/// lease. The load begins after that, so each later entry has a larger number than the record's
/// mark. The ledger is begun if it is missing.
///
/// KEYS those of the other script; ledger, old ledger. ARGV those of the other script; new base,
/// channel.
///
/// Replies as the other script; `given` is followed by the base and the number of the last entry.
pub(super) static MARKED: Script = Script::new(|| {
    let take = include_str!("lua/lease.lua");
    marked(take, include_str!("lua/mark_lease.lua"))
});

/// Asks for a lease.
#[derive(Debug)]
pub(crate) struct TakeLease<'a> {
    pub(crate) key: &'a RecordKey,
    pub(crate) mode: LeaseMode,
    /// The token of the lease, if it is granted and not shared with another caller.
    pub(crate) token: u64,
    /// The time after which the lease expires.
    pub(crate) life: Duration,
    /// The epoch that the function gets if it has none.
    pub(crate) fresh_epoch: u64,
    /// The history that the caller is attached to.
    pub(crate) history: u64,
    /// The header of the record that the caller has read, or nothing.
    pub(crate) expected_header: &'a [u8],
    /// The epoch of the function, if the caller knows it.
    pub(crate) known_epoch: Option<u64>,
    /// The last message that the caller has applied.
    pub(crate) last_message: u64,
    /// The base that the ledger gets if there is none, for a key of a marked function.
    pub(crate) fresh_base: Option<u64>,
}

/// Reply to a request for a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// The lease, and the epoch that the record must carry. The token is another than the one asked
    /// for if the lease is shared.
    Granted {
        token: u64,
        epoch: u64,
        failures: u32,
        /// The state of the ledger, if it was asked for.
        mark: Option<Mark>,
    },
    /// The key may be loaded. Nothing was taken.
    Free,
    /// Another caller holds the lease, which expires after `left` unless it is renewed.
    Taken { left: Duration },
    /// The record is another one than the caller has read.
    Replaced,
    /// A load failed, and no load begins for a caller that has a value before `left` has passed.
    BackedOff { left: Duration },
    /// The key is guarded: nothing may be stored.
    Guarded,
    /// The history is another, or the data set was flushed.
    OtherHistory,
    /// The history was evicted.
    HistoryEvicted,
    /// Not a reply of this script.
    Foreign,
}

/// Writes the text of an exclusive lease that no caller waits for.
#[derive(Clone, Copy, Debug)]
pub(super) struct ExclusiveLease {
    pub(super) token: u64,
    pub(super) stamp: Stamp,
}

impl ToRedisArgs for ExclusiveLease {
    fn write_redis_args<W: ?Sized + RedisWrite>(&self, out: &mut W) {
        let Self { token, stamp } = self;
        let Stamp { epoch, history } = stamp;
        out.write_arg_fmt(format_args!("{token}:{epoch}:{history}:x"));
    }
}

fn word(mode: LeaseMode) -> &'static str {
    match mode {
        LeaseMode::Shared => "share",
        LeaseMode::Preempt => "takeover",
        LeaseMode::Probe => "look",
        LeaseMode::Refresh => "refresh",
        // A mode that this version does not know is treated as the strictest one.
        _ => "only",
    }
}

impl Command for TakeLease<'_> {
    type Reply = Reply;

    fn script(&self) -> &'static redis::Script {
        match self.fresh_base {
            None => &SCRIPT,
            Some(_) => &MARKED,
        }
    }

    fn write(self, keys: &Keys, invocation: &mut Invocation) {
        let known = self.known_epoch.map(|epoch| epoch.to_string());
        invocation
            .key(keys.record(self.key))
            .key(keys.lease(self.key))
            .key(keys.epoch(&self.key.function))
            .key(keys.history())
            .key(keys.guards(self.key))
            .key(keys.sequence())
            .arg(word(self.mode))
            .arg(self.token)
            .arg(millis(self.life))
            .arg(self.fresh_epoch)
            .arg(self.history)
            .arg(self.expected_header)
            .arg(known.unwrap_or_default())
            .arg(self.last_message);
        if let Some(base) = self.fresh_base {
            invocation
                .key(keys.ledger())
                .key(keys.old_ledger())
                .arg(base)
                .arg(keys.channel());
        }
    }

    fn parse(reply: Value) -> Result<Reply, RedisError> {
        let reply: Vec<Value> = typed(reply)?;
        let Some((Value::BulkString(word), rest)) = reply.split_first() else {
            return Ok(Reply::Foreign);
        };
        Ok(match (&word[..], rest) {
            (b"given", granted) => parse_granted(granted).unwrap_or(Reply::Foreign),
            (b"free", []) => Reply::Free,
            (b"taken", [Value::Int(left)]) => match u64::try_from(*left) {
                Ok(left) if left > 0 => Reply::Taken {
                    left: Duration::from_millis(left),
                },
                _ => Reply::Replaced,
            },
            (b"backedoff", [Value::Int(left)]) => match u64::try_from(*left) {
                Ok(left) => Reply::BackedOff {
                    left: Duration::from_millis(left),
                },
                Err(_) => Reply::Foreign,
            },
            (b"guarded", []) => Reply::Guarded,
            (b"history", []) => Reply::OtherHistory,
            (b"evicted", []) => Reply::HistoryEvicted,
            _ => Reply::Foreign,
        })
    }
}

/// Parses what follows `given`.
fn parse_granted(granted: &[Value]) -> Option<Reply> {
    let [
        Value::BulkString(token),
        Value::BulkString(epoch),
        Value::Int(failures),
        mark @ ..,
    ] = granted
    else {
        return None;
    };
    let mark = match mark {
        [] => None,
        [Value::BulkString(base), Value::BulkString(count)] => Some(mark_of(base, count)?),
        _ => return None,
    };
    Some(Reply::Granted {
        token: number(token)?,
        epoch: number(epoch)?,
        failures: u32::try_from(*failures).ok()?,
        mark,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{EPOCH, HISTORY, MINUTE, TestServer, key, take_lease};

    const GRANTED: Reply = granted(21, EPOCH);

    const fn granted(token: u64, epoch: u64) -> Reply {
        Reply::Granted {
            token,
            epoch,
            failures: 0,
            mark: None,
        }
    }

    #[tokio::test]
    async fn exclusive_lease_is_granted_once_and_marked_if_another_caller_waits() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let lease = server.keys.lease(&key);
        assert_eq!(server.lease(&key, 21).await, GRANTED);
        assert_eq!(server.text(&lease).await, "21:11:5:x");
        let short = TakeLease {
            life: Duration::from_secs(1),
            ..take_lease(&key, 22)
        };
        let Reply::Taken { left } = server.send(short).await else {
            panic!("the lease is held");
        };
        assert!(left <= Duration::from_secs(1), "{left:?}");
        assert_eq!(server.text(&lease).await, "21:11:5:xw");
        let expires: u64 = server.ask(&["PTTL", &lease]).await;
        assert!(
            expires <= 1000,
            "shortened to what the caller would wait: {expires}"
        );
        server.ask::<()>(&["PERSIST", &lease]).await;
        let reply = server.lease(&key, 23).await;
        let expected = granted(23, EPOCH);
        assert_eq!(reply, expected, "a lease without an expiry is replaced");
        assert_eq!(
            server.text(&lease).await,
            "23:11:5:xw",
            "the mark is kept: callers still wait"
        );
    }

    #[tokio::test]
    async fn shared_lease_is_granted_to_all_and_replaced_by_preempt_and_exclusive() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let ask = |mode, token| TakeLease {
            mode,
            ..take_lease(&key, token)
        };
        let given = |token| granted(token, EPOCH);
        assert_eq!(server.send(ask(LeaseMode::Shared, 21)).await, given(21));
        assert_eq!(server.send(ask(LeaseMode::Shared, 22)).await, given(21));
        assert_eq!(server.send(ask(LeaseMode::Exclusive, 23)).await, given(23));
        assert_eq!(server.send(ask(LeaseMode::Shared, 24)).await, given(23));
        assert_eq!(server.send(ask(LeaseMode::Preempt, 25)).await, given(25));
        let lease = server.keys.lease(&key);
        assert_eq!(server.text(&lease).await, "25:11:5:x");
    }

    #[tokio::test]
    async fn probe_finds_the_key_free_and_takes_nothing() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let look = || TakeLease {
            mode: LeaseMode::Probe,
            ..take_lease(&key, 21)
        };
        assert_eq!(server.send(look()).await, Reply::Free);
        assert_eq!(server.text(&server.keys.lease(&key)).await, "");
        let guards = server.keys.guards(&key);
        server.ask::<()>(&["ZADD", &guards, "9e15", "1"]).await;
        assert_eq!(server.send(look()).await, Reply::Guarded);
    }

    #[tokio::test]
    async fn lease_is_refused_while_the_key_is_guarded() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let guards = server.keys.guards(&key);
        server.ask::<()>(&["ZADD", &guards, "9e15", "1"]).await;
        assert_eq!(server.lease(&key, 21).await, Reply::Guarded);
        server.ask::<()>(&["ZADD", &guards, "1", "1"]).await;
        assert_eq!(
            server.lease(&key, 21).await,
            GRANTED,
            "the guard has expired"
        );
        server.ask::<()>(&["DEL", &server.keys.lease(&key)]).await;
        server.ask::<()>(&["SET", &guards, "foreign"]).await;
        assert_eq!(
            server.lease(&key, 21).await,
            GRANTED,
            "it is not a set of guards"
        );
    }

    #[tokio::test]
    async fn exclusive_request_is_refused_if_the_record_was_replaced() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let record = server.keys.record(&key);
        server.ask::<()>(&["SET", &record, "record"]).await;
        assert_eq!(server.lease(&key, 21).await, Reply::Replaced);
        let seen = TakeLease {
            expected_header: b"record",
            ..take_lease(&key, 21)
        };
        assert_eq!(server.send(seen).await, GRANTED);
    }

    #[tokio::test]
    async fn lease_under_another_history_is_refused_and_eviction_is_distinguished_from_a_flush() {
        let mut server = TestServer::start().await;
        server.attach().await;
        let key = key("1");
        let other = TakeLease {
            history: HISTORY + 1,
            ..take_lease(&key, 21)
        };
        assert_eq!(server.send(other).await, Reply::OtherHistory);
        let [history, sequence] = [server.keys.history(), server.keys.sequence()];
        server.ask::<()>(&["DEL", &history]).await;
        assert_eq!(server.lease(&key, 21).await, Reply::HistoryEvicted);
        server.ask::<()>(&["DEL", &sequence]).await;
        assert_eq!(server.lease(&key, 21).await, Reply::OtherHistory, "a flush");
    }

    #[tokio::test]
    async fn evicted_epoch_is_restored_only_by_a_caller_that_has_applied_every_message() {
        let mut server = TestServer::start().await;
        let last = server.attach().await.last;
        let key = key("1");
        let epoch = server.keys.epoch(&key.function);
        let ask = |token, last_message| TakeLease {
            known_epoch: Some(77),
            last_message,
            life: MINUTE,
            ..take_lease(&key, token)
        };
        assert_eq!(server.send(ask(21, last)).await, granted(21, 77));
        assert_eq!(server.text(&epoch).await, "77");
        server.ask::<()>(&["DEL", &epoch]).await;
        let reply = server.send(ask(22, last - 1)).await;
        let expected = granted(22, EPOCH);
        assert_eq!(reply, expected, "the old lease is void under another epoch");
    }

    fn parse(words: Vec<Value>) -> Reply {
        TakeLease::parse(Value::Array(words)).unwrap()
    }

    fn text(text: &str) -> Value {
        Value::BulkString(text.into())
    }

    #[test]
    fn reply_of_no_known_form_is_foreign() {
        assert_eq!(parse(vec![]), Reply::Foreign);
        assert_eq!(parse(vec![text("other")]), Reply::Foreign);
        assert_eq!(parse(vec![Value::Int(1)]), Reply::Foreign);
        assert_eq!(parse(vec![text("given"), text("1")]), Reply::Foreign);
        let given = |token, epoch, failures| {
            let failures = Value::Int(failures);
            parse(vec![text("given"), text(token), text(epoch), failures])
        };
        assert_eq!(given("1", "x", 0), Reply::Foreign);
        assert_eq!(given("x", "1", 0), Reply::Foreign);
        assert_eq!(given("1", "2", -1), Reply::Foreign);
        assert_eq!(given("1", "2", 0), granted(1, 2));
        let backed_off = |left| parse(vec![text("backedoff"), Value::Int(left)]);
        assert_eq!(backed_off(-1), Reply::Foreign);
        let left = Duration::from_millis(5);
        assert_eq!(backed_off(5), Reply::BackedOff { left });
        let taken = |left| parse(vec![text("taken"), left]);
        assert_eq!(taken(text("5")), Reply::Foreign);
        assert_eq!(taken(Value::Int(-1)), Reply::Replaced);
    }
}
