//! Looks at everything that there is of one key, for operators. It is no script, so that it cannot
//! change anything, and the answers need not be of one moment.

use std::time::Duration;

use cache_core::tier::{Inspection, LeaseSeen, RecordKey, Stamp};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use super::command::number;
use super::read::{history_number, range, record_in, text_in};
use super::script::LONGEST_TEXT;
use crate::keys::Keys;

/// How long the mark of a back-off stays after the back-off, as the scripts have it.
const REMEMBERED: Duration = Duration::from_millis(120_000);

/// Reads what there is of a key, by plain commands in one round trip. `last` is the index of the
/// last byte of the record that is read, and `now` the time of the server in milliseconds.
pub(crate) async fn inspect(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    key: &RecordKey,
    (last, now): (usize, u64),
) -> Result<Inspection, RedisError> {
    let (record, lease) = (keys.record(key), keys.lease(key));
    let mut guards = redis::cmd("ZCOUNT");
    guards.arg(keys.guards(key)).arg(now).arg("+inf");
    let mut pipeline = redis::pipe();
    // The record is read before its stamp, as a call does.
    pipeline
        .ignore_errors()
        .add_command(range(&record, last))
        .add_command(range(&keys.epoch(&key.function), LONGEST_TEXT))
        .add_command(range(&keys.history(), LONGEST_TEXT))
        .add_command(range(&lease, LONGEST_TEXT))
        .add_command(life(&record))
        .add_command(life(&lease))
        .add_command(guards);
    let (record, epoch, history, lease, life, life_of_lease, guards): (
        Answer,
        Answer,
        Answer,
        Answer,
        Left,
        Left,
        Result<u64, RedisError>,
    ) = pipeline.query_async(connection).await?;
    let stamp = number(&text_in(epoch)?).zip(history_number(&text_in(history)?));
    let stamp = stamp.map(|(epoch, history)| Stamp { epoch, history });
    let mut seen = Inspection::default();
    seen.record = record_in(record)?;
    seen.stamp = stamp;
    seen.left = left(&life);
    // The user may lack the permission, or the key may be of another type.
    seen.guards = guards.ok();
    let held = left(&life_of_lease).zip(Lease::parse(&text_in(lease)?));
    // A lease without an expiry, or of another stamp, is not valid.
    if let Some((left, lease)) = held.filter(|(_, lease)| Some(lease.stamp) == stamp) {
        match lease.kind {
            b'b' => seen.back_off = left.checked_sub(REMEMBERED).filter(|left| !left.is_zero()),
            kind => seen.lease = Some(LeaseSeen::new(kind == b'x', lease.was_awaited, Some(left))),
        }
    }
    Ok(seen)
}

type Answer = Result<Vec<u8>, RedisError>;
type Left = Result<i64, RedisError>;

fn life(name: &str) -> Cmd {
    let mut life = redis::cmd("PTTL");
    life.arg(name);
    life
}

/// The time until a key expires. `None` if there is no such key, or if it does not expire.
fn left(answer: &Left) -> Option<Duration> {
    let millis = answer.as_ref().ok()?;
    u64::try_from(*millis).ok().map(Duration::from_millis)
}

/// The text under the key of a lease, as the scripts write it: number, epoch, history, kind.
struct Lease {
    stamp: Stamp,
    kind: u8,
    was_awaited: bool,
}

impl Lease {
    fn parse(text: &[u8]) -> Option<Self> {
        let mut parts = text.split(|byte| *byte == b':');
        number(parts.next()?)?;
        let (epoch, history) = (number(parts.next()?)?, number(parts.next()?)?);
        let (kind, awaited) = parts.next()?.split_first()?;
        let is_known = matches!(*kind, b'x' | b's' | b'b') && matches!(awaited, b"" | b"w");
        (is_known && parts.next().is_none()).then_some(Self {
            stamp: Stamp { epoch, history },
            kind: *kind,
            was_awaited: !awaited.is_empty(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::{TestServer, key};

    async fn look(server: &mut TestServer) -> Inspection {
        let (connection, keys) = (&mut server.connection, &server.keys);
        inspect(connection, keys, &key("1"), (100, 1_000))
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn everything_that_there_is_of_a_key_is_seen() {
        let mut server = TestServer::start().await;
        let mut nothing = Inspection::default();
        nothing.guards = Some(0);
        assert_eq!(look(&mut server).await, nothing);

        let key = key("1");
        let [record, lease, guards] = [
            server.keys.record(&key),
            server.keys.lease(&key),
            server.keys.guards(&key),
        ];
        let (epoch, history) = (server.keys.epoch(&key.function), server.keys.history());
        server
            .ask::<()>(&["SET", &record, "text", "PX", "90000"])
            .await;
        server.ask::<()>(&["SET", &epoch, "11"]).await;
        server.ask::<()>(&["SET", &history, "5:server"]).await;
        server
            .ask::<()>(&["SET", &lease, "7:11:5:xw", "PX", "8000"])
            .await;
        // The first one has ended.
        server
            .ask::<()>(&["ZADD", &guards, "900", "a", "1100", "b"])
            .await;
        let seen = look(&mut server).await;
        assert_eq!(seen.record.as_deref(), Some(&b"text"[..]));
        let (epoch, history) = (11, 5);
        assert_eq!(seen.stamp, Some(Stamp { epoch, history }));
        assert!(seen.left.unwrap() > Duration::from_secs(60));
        let held = seen.lease.unwrap();
        assert!(held.exclusive && held.waited && held.left <= Some(Duration::from_secs(8)));
        assert_eq!((seen.guards, seen.back_off), (Some(1), None));
    }

    #[tokio::test]
    async fn guards_that_may_not_be_counted_are_not_known() {
        let mut server = TestServer::start().await;
        server
            .ask::<()>(&["ACL", "SETUSER", "default", "-zcount"])
            .await;
        let seen = look(&mut server).await;
        assert_eq!((seen.guards, seen.record), (None, None));
    }

    #[tokio::test]
    async fn lease_that_is_not_valid_is_not_seen() {
        let mut server = TestServer::start().await;
        let key = key("1");
        let lease = server.keys.lease(&key);
        let (epoch, history) = (server.keys.epoch(&key.function), server.keys.history());
        server.ask::<()>(&["SET", &epoch, "11"]).await;
        server.ask::<()>(&["SET", &history, "5:server"]).await;
        for text in ["7:11:4:x", "7:12:5:x", "foreign", "7:11:5:y", "7:11:5:x:"] {
            server.ask::<()>(&["SET", &lease, text, "PX", "8000"]).await;
            assert_eq!(look(&mut server).await.lease, None, "{text}");
        }
        server.ask::<()>(&["SET", &lease, "7:11:5:x"]).await;
        assert_eq!(look(&mut server).await.lease, None, "it does not expire");
        server
            .ask::<()>(&["SET", &lease, "2:11:5:b", "PX", "123000"])
            .await;
        let seen = look(&mut server).await;
        let most = Duration::from_secs(3);
        assert!(seen.lease.is_none() && seen.back_off.unwrap() <= most);
    }
}
