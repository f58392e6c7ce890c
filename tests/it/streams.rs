//! Streams of an application, beside the cache.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamEntry, StreamLog};
use multi_tier_cached::{
    CacheRuntime, Error, ErrorKind, Redis, Streams, invalidate, multi_tier_cached, unix_millis,
};
use testbed::proxy::{End, NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{build, until};
use tokio::time::{Instant, sleep, timeout};

const NO_WAIT: Duration = Duration::ZERO;

fn streams(server: &Server) -> Streams {
    Redis::new(server.url())
        .namespace("shop")
        .streams()
        .unwrap()
}

async fn publish(streams: &Streams, text: &str) -> String {
    let fields: [(&str, &[u8]); 2] = [("text", text.as_bytes()), ("raw", &[0, 255, 10])];
    streams.publish("orders", &fields, None).await.unwrap()
}

fn texts(entries: &[StreamEntry]) -> Vec<&str> {
    entries
        .iter()
        .map(|entry| std::str::from_utf8(entry.field("text").unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_published_is_read_in_order() {
    let server = Server::start();
    let streams = streams(&server);
    let first = publish(&streams, "a").await;
    publish(&streams, "b").await;
    let all = streams.read("orders", &After::Start, 10, NO_WAIT).await;
    let all = all.unwrap();
    assert_eq!(texts(&all), ["a", "b"]);
    assert_eq!(all[0].field("raw"), Some(&[0, 255, 10][..]));
    assert_eq!(all[0].field("none"), None);
    let after = After::Entry(first);
    let rest = streams.read("orders", &after, 10, NO_WAIT).await;
    assert_eq!(texts(&rest.unwrap()), ["b"]);
    let latest = streams.latest("orders", 1).await.unwrap();
    assert_eq!(texts(&latest), ["b"]);
    let none = streams.read("nothing", &After::Start, 10, NO_WAIT).await;
    assert_eq!(none.unwrap(), []);
    let fields: [(&str, &[u8]); 1] = [("text", b"lost")];
    let junk = After::Entry("junk".to_owned());
    for error in [
        streams.publish("orders", &[], None).await.unwrap_err(),
        streams.publish("", &fields, None).await.unwrap_err(),
        streams
            .publish("orders", &fields, Some(0))
            .await
            .unwrap_err(),
        streams.read("orders", &junk, 1, NO_WAIT).await.unwrap_err(),
    ] {
        assert_eq!(error.kind(), ErrorKind::Configuration, "{error}");
    }
    assert_eq!(server.keys(), ["{shop:0}:#stream:orders"]);
}

#[tokio::test]
async fn fields_keep_their_order_and_their_names() {
    let server = Server::start();
    let streams = streams(&server);
    let fields: [(&str, &[u8]); 4] = [("z", b"1"), ("a", b"2"), ("z", b"3"), ("b", b"4")];
    streams.publish("orders", &fields, None).await.unwrap();
    // As another program may write one.
    let raw: [&[u8]; 5] = [b"XADD", b"{shop:0}:#stream:orders", b"*", b"\xff", b"5"];
    let _: String = server.command_bytes(&raw);
    let expected = fields.map(|(name, value)| (name.to_owned(), value.to_vec()));
    let _: bool = streams
        .create_group("orders", "g", &After::Start)
        .await
        .unwrap();
    let no_time = Duration::ZERO;
    for entries in [
        streams.read("orders", &After::Start, 10, NO_WAIT).await,
        streams.read_group("orders", "g", "r", 10, NO_WAIT).await,
        streams.unacknowledged("orders", "g", "r", 10).await,
        streams.claim("orders", "g", "r", no_time, 10).await,
        streams.latest("orders", 10).await.map(|mut entries| {
            entries.reverse();
            entries
        }),
    ] {
        let entries = entries.unwrap();
        assert_eq!(entries[0].fields, expected);
        assert_eq!(entries[0].field("z"), Some(&b"1"[..]));
        assert_eq!(entries[1].fields, [("\u{fffd}".into(), b"5".to_vec())]);
    }
}

#[tokio::test]
async fn any_number_will_do() {
    let server = Server::start();
    let streams = streams(&server);
    let start = &After::Start;
    let group = ("orders", "g");
    assert!(streams.create_group(group.0, group.1, start).await.unwrap());
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    let published = streams.publish("orders", &fields, Some(usize::MAX)).await;
    published.unwrap();
    let asked = server.calls("xreadgroup") + server.calls("xread");
    for most in [0, usize::MAX] {
        let expected = most.min(1);
        for wait in [NO_WAIT, Duration::from_secs(60)] {
            let read = streams.read("orders", start, most, wait).await;
            assert_eq!(read.unwrap().len(), expected);
        }
        let latest = streams.latest("orders", most).await.unwrap();
        assert_eq!(latest.len(), expected);
        let given = streams.read_group(group.0, group.1, "r", most, NO_WAIT);
        assert_eq!(given.await.unwrap().len(), expected);
        let left = streams.unacknowledged(group.0, group.1, "r", most).await;
        assert_eq!(left.unwrap().len(), expected);
        for (idle, claimed) in [(Duration::ZERO, expected), (Duration::MAX, 0)] {
            let claim = streams.claim(group.0, group.1, "r", idle, most).await;
            assert_eq!(claim.unwrap().len(), claimed, "{idle:?}");
        }
        if most == 0 {
            let now = server.calls("xreadgroup") + server.calls("xread");
            assert_eq!(now, asked, "nothing was asked");
        }
    }
}

#[tokio::test]
async fn a_stream_is_trimmed() {
    let server = Server::start();
    let streams = streams(&server);
    for n in 0..1_000 {
        let fields: [(&str, &[u8]); 1] = [("n", &[n as u8])];
        streams.publish("log", &fields, Some(100)).await.unwrap();
    }
    let left = streams.latest("log", 1_000).await.unwrap().len();
    assert!((100..400).contains(&left), "{left}");
}

/// A read that waits has a connection of its own; the cache, and what others publish, do not wait for it.
#[tokio::test]
async fn a_read_waits_and_keeps_nobody_waiting() {
    #[multi_tier_cached(ttl = "1h", name = "streams::read")]
    async fn read(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let redis = || Redis::new(server.url()).namespace("shop");
    let runtime = build(redis()).await;
    let streams = redis().streams().unwrap();
    for wait in [Duration::from_secs(60), Duration::MAX] {
        let waiting = tokio::spawn({
            let streams = streams.clone();
            async move { streams.read("orders", &After::Now, 10, wait).await }
        });
        until("it waits", || {
            let clients: String = server.command(&["CLIENT", "LIST"]);
            clients.contains("flags=b")
        })
        .await;
        let began = Instant::now();
        CacheRuntime::scope(runtime.clone(), async {
            read(1).await;
            invalidate!(read, 1).await.unwrap();
        })
        .await;
        publish(&streams, "now").await;
        assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["now"]);
        assert!(began.elapsed() < Duration::from_secs(5));
    }
    // However short, it ends.
    for wait in [Duration::from_nanos(1), Duration::from_millis(30)] {
        let read = streams.read("orders", &After::Now, 10, wait);
        let read = timeout(Duration::from_secs(5), read).await.unwrap();
        assert_eq!(read.unwrap(), []);
    }
    // One that is dropped leaves nothing behind.
    let read = streams.read("orders", &After::Now, 10, Duration::MAX);
    let _ = timeout(Duration::from_millis(50), read).await;
    until("its connection is closed", || {
        let clients: String = server.command(&["CLIENT", "LIST"]);
        !clients.contains("flags=b")
    })
    .await;
}

#[tokio::test]
async fn a_group_shares_the_work_and_takes_over_what_a_dead_reader_left() {
    let server = Server::start();
    let streams = streams(&server);
    assert!(
        streams
            .create_group("orders", "g", &After::Start)
            .await
            .unwrap()
    );
    assert!(
        !streams
            .create_group("orders", "g", &After::Start)
            .await
            .unwrap()
    );
    for text in ["a", "b", "c"] {
        publish(&streams, text).await;
    }
    let read = |reader: &'static str, most| {
        let streams = streams.clone();
        async move {
            streams
                .read_group("orders", "g", reader, most, NO_WAIT)
                .await
                .unwrap()
        }
    };
    let one = read("one", 2).await;
    assert_eq!(texts(&one), ["a", "b"]);
    assert_eq!(texts(&read("two", 2).await), ["c"]);
    assert_eq!(read("two", 2).await, []);
    let ids = [one[0].id.clone()];
    for acknowledged in [1, 0] {
        let done = streams.acknowledge("orders", "g", &ids).await;
        assert_eq!(done.unwrap(), acknowledged);
    }
    let left = streams.unacknowledged("orders", "g", "one", 10);
    assert_eq!(texts(&left.await.unwrap()), ["b"]);
    // The first is dead.
    let idle = Duration::from_millis(50);
    sleep(idle).await;
    let claimed = streams.claim("orders", "g", "three", idle, 10).await;
    assert_eq!(texts(&claimed.unwrap()), ["b", "c"]);
    let left = streams.unacknowledged("orders", "g", "one", 10).await;
    assert_eq!(left.unwrap(), []);
    let young = Duration::from_secs(60);
    let claimed = streams.claim("orders", "g", "one", young, 10).await;
    assert_eq!(claimed.unwrap(), []);
    let error = streams
        .read_group("orders", "nobody", "one", 1, NO_WAIT)
        .await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
}

/// Those that a live reader works at stand before those that a dead one left.
#[tokio::test]
async fn what_a_dead_reader_left_is_claimed_wherever_it_stands() {
    let server = Server::start();
    let streams = streams(&server);
    let start = &After::Start;
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    for n in 0..25 {
        publish(&streams, &n.to_string()).await;
    }
    let given = streams.read_group("orders", "g", "dead", 25, NO_WAIT).await;
    let given = given.unwrap();
    for entry in &given[12..] {
        let key = "{shop:0}:#stream:orders";
        let hour = ["IDLE", "3600000", "JUSTID"];
        let claim = ["XCLAIM", key, "g", "dead", "0", &entry.id];
        let _: Vec<String> = server.command(&[&claim[..], &hour].concat());
    }
    let idle = Duration::from_secs(60 * 30);
    let first = streams.claim("orders", "g", "third", idle, 1).await;
    assert_eq!(texts(&first.unwrap()), ["12"]);
    let rest = streams.claim("orders", "g", "third", idle, 20).await;
    assert_eq!(rest.unwrap(), given[13..]);
}

#[tokio::test]
async fn what_was_trimmed_is_left_out_and_acknowledged() {
    let server = Server::start();
    let streams = streams(&server);
    let start = &After::Start;
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    for text in ["a", "b", "c", "d", "e"] {
        publish(&streams, text).await;
    }
    let given = streams.read_group("orders", "g", "one", 5, NO_WAIT).await;
    assert_eq!(given.unwrap().len(), 5);
    let key = "{shop:0}:#stream:orders";
    let trim = |left: &str| server.command::<u64>(&["XTRIM", key, "MAXLEN", left]);
    let pending = || {
        let pending: Vec<redis::Value> = server.command(&["XPENDING", key, "g"]);
        pending[0].clone()
    };
    assert_eq!(trim("2"), 3);
    // The first that are there, though others stand before them.
    let left = streams.unacknowledged("orders", "g", "one", 1).await;
    assert_eq!(texts(&left.unwrap()), ["d"]);
    let left = streams.unacknowledged("orders", "g", "one", 10).await;
    assert_eq!(texts(&left.unwrap()), ["d", "e"]);
    assert_eq!(pending(), redis::Value::Int(2));
    assert_eq!(trim("1"), 1);
    let claimed = streams.claim("orders", "g", "two", Duration::ZERO, 10);
    assert_eq!(texts(&claimed.await.unwrap()), ["e"]);
    assert_eq!(pending(), redis::Value::Int(1));
}

/// Reads that wait, at once, so that as many connections are kept.
async fn wait_in_parallel(streams: &Streams, n: usize, server: &Server) {
    let waiting: Vec<_> = (0..n)
        .map(|_| {
            let streams = streams.clone();
            let wait = Duration::from_secs(60);
            tokio::spawn(async move { streams.read("orders", &After::Now, 1, wait).await })
        })
        .collect();
    until("all wait", || {
        let clients: String = server.command(&["CLIENT", "LIST"]);
        clients.matches("flags=b").count() == n
    })
    .await;
    publish(streams, "now").await;
    for waiting in waiting {
        assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["now"]);
    }
}

#[tokio::test]
async fn a_server_that_was_started_again_is_found_by_the_first_who_asks() {
    let mut server = Server::start();
    let streams = streams(&server);
    wait_in_parallel(&streams, 6, &server).await;
    server.restart();
    let wait = Duration::from_millis(1);
    for _ in 0..2 {
        let read = streams.read("orders", &After::Start, 1, wait).await;
        assert_eq!(read.unwrap(), []);
    }
    // Nor is one used again whose end was seen, by what is done once.
    let start = &After::Start;
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    wait_in_parallel(&streams, 6, &server).await;
    server.restart();
    streams.latest("orders", 1).await.unwrap();
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    for _ in 0..2 {
        let read = streams.read_group("orders", "g", "r", 1, wait).await;
        assert_eq!(read.unwrap(), []);
    }
}

/// What it was asked may be done: to ask again would pass over what was given.
#[tokio::test]
async fn what_may_have_been_done_is_not_done_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let redis = Redis::new(proxy.url()).namespace("shop");
    let behind = redis.time_limit(Duration::from_secs(20)).streams().unwrap();
    let start = &After::Start;
    assert!(behind.create_group("orders", "g", start).await.unwrap());
    for text in ["a", "b", "c", "d"] {
        publish(&behind, text).await;
    }
    let wait = Duration::from_secs(20);
    let first = behind.read_group("orders", "g", "r", 1, wait).await;
    assert_eq!(texts(&first.unwrap()), ["a"]);

    let lost = async |command: &str, asked: &mut (dyn Future<Output = ErrorKind> + Unpin)| {
        let before = server.calls(command);
        proxy.set(NetworkFault::Deaf);
        let done = until("it was done", || server.calls(command) > before);
        tokio::select! {
            () = done => {}
            _ = &mut *asked => panic!("{command} was answered"),
        }
        proxy.end(End::Reset);
        proxy.set(NetworkFault::Fair);
        assert_eq!(asked.await, ErrorKind::Unavailable, "{command}");
        assert_eq!(server.calls(command), before + 1);
        // It is there again.
        behind.latest("orders", 1).await.unwrap();
    };
    let read = behind.read_group("orders", "g", "r", 1, wait);
    lost("xreadgroup", &mut Box::pin(kind(read))).await;
    let left = behind.unacknowledged("orders", "g", "r", 10).await.unwrap();
    assert_eq!(texts(&left), ["a", "b"]);
    let claim = behind.claim("orders", "g", "s", Duration::ZERO, 1);
    lost("xautoclaim", &mut Box::pin(kind(claim))).await;
    let ids = [left[1].id.clone()];
    let acknowledge = behind.acknowledge("orders", "g", &ids);
    lost("xack", &mut Box::pin(kind(acknowledge))).await;
    let group = behind.create_group("orders", "h", start);
    lost("xgroup|create", &mut Box::pin(kind(group))).await;
    assert!(!behind.create_group("orders", "h", start).await.unwrap());
}

async fn kind<T: std::fmt::Debug>(asked: impl Future<Output = Result<T, Error>>) -> ErrorKind {
    asked.await.unwrap_err().kind()
}

/// As a read does that is sent again: it goes on from where it began.
#[tokio::test]
async fn a_read_from_now_misses_nothing_that_comes_while_it_waits() {
    let server = Server::start();
    let streams = streams(&server);
    publish(&streams, "before").await;
    let waiting = tokio::spawn({
        let streams = streams.clone();
        async move {
            let now = &After::Now;
            streams.read("orders", now, 10, Duration::MAX).await
        }
    });
    let blocked = || {
        let clients: String = server.command(&["CLIENT", "LIST"]);
        let client = clients.lines().find(|client| client.contains("flags=b"));
        client.map(|client| client.split([' ', '=']).nth(1).unwrap().to_owned())
    };
    until("it waits", || blocked().is_some()).await;
    // What it waits for in one step is over; an entry comes before the next.
    let id = blocked().unwrap();
    let _: u64 = server.command(&["CLIENT", "UNBLOCK", &id, "TIMEOUT"]);
    publish(&streams, "now").await;
    assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["now"]);
}

/// A read for ever asks again by and by: on a connection that is open on this side alone nothing would ever come.
#[tokio::test]
async fn a_read_that_nobody_hears_ends() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let streams = Redis::new(proxy.url()).streams().unwrap();
    let waiting = tokio::spawn(async move {
        let start = &After::Start;
        streams.read("orders", start, 10, Duration::MAX).await
    });
    until("it waits", || {
        let clients: String = server.command(&["CLIENT", "LIST"]);
        clients.contains("flags=b")
    })
    .await;
    assert!(proxy.strand() > 0);
    tokio::time::pause();
    let read = timeout(Duration::from_secs(600), waiting).await;
    let error = read.expect("an end").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// Behind a name that leads to whoever is primary.
#[tokio::test]
async fn connections_that_lead_to_a_replica_by_now_are_given_up() {
    let (before, after) = (Server::start(), Server::start());
    let proxy = Proxy::to(before.port()).await;
    let redis = Redis::new(proxy.url()).namespace("shop");
    let behind = redis.streams().unwrap();
    wait_in_parallel(&behind, 4, &before).await;
    let port = after.port().to_string();
    let group = ["CREATE", "{shop:0}:#stream:orders", "g", "0", "MKSTREAM"];
    let _: () = after.command(&[&["XGROUP"], &group[..]].concat());
    let _: () = before.command(&["REPLICAOF", "127.0.0.1", &port]);
    proxy.repoint(after.port());
    let wait = Duration::from_millis(1);
    for _ in 0..4 {
        let read = behind.read_group("orders", "g", "r", 1, wait).await;
        assert_eq!(read.unwrap(), []);
    }
    publish(&behind, "a").await;
}

#[tokio::test]
async fn a_server_that_was_away_is_found_again() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let redis = Redis::new(proxy.url()).time_limit(Duration::from_millis(100));
    let streams = redis.streams().unwrap();
    publish(&streams, "a").await;
    proxy.end(End::Reset);
    // Whether an entry is there is not known: it is not published again.
    let fields: [(&str, &[u8]); 1] = [("text", b"b")];
    let published = streams.publish("orders", &fields, None).await;
    let latest = streams.latest("orders", 1).await.unwrap();
    assert_eq!(texts(&latest)[0] == "b", published.is_ok());
    server.freeze();
    let began = Instant::now();
    let error = streams.latest("orders", 1).await.unwrap_err();
    server.thaw();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(2));
    publish(&streams, "c").await;
}

mod audited {
    use super::*;

    #[multi_tier_cached(ttl = "1h", name = "audited::read")]
    pub(super) async fn read(key: &str) -> usize {
        key.len()
    }
}

#[tokio::test]
async fn invalidations_are_written_down_where_that_is_asked_for() {
    let server = Server::start();
    let redis = || Redis::new(server.url()).namespace("shop");
    let here = build(redis().audit("here", 100)).await;
    let silent = build(redis()).await;
    let invalidate = |runtime: &CacheRuntime| {
        CacheRuntime::scope(runtime.clone(), async {
            invalidate!(audited::read, "tea").await.unwrap();
            invalidate!(audited::read).await.unwrap();
        })
    };
    invalidate(&silent).await;
    invalidate(&here).await;
    here.invalidate_all().await.unwrap();
    for runtime in [&silent, &here] {
        let dropped = runtime.invalidate_matching("audited::read", "te[ab]");
        dropped.await.unwrap();
    }
    let streams = streams(&server);
    let written = streams
        .read(Streams::INVALIDATIONS, &After::Start, 10, NO_WAIT)
        .await;
    let written = written.unwrap();
    let field = |entry: &StreamEntry, name| String::from_utf8(entry.field(name).unwrap().to_vec());
    let what: Vec<_> = written
        .iter()
        .map(|entry| field(entry, "what").unwrap())
        .collect();
    let expected = [
        "audited::read:1:tea",
        "audited::read:1",
        "*",
        "audited::read:1:te[ab]",
    ];
    assert_eq!(what, expected);
    assert!(
        written
            .iter()
            .all(|entry| field(entry, "who").unwrap() == "here")
    );
    let first: u64 = written[0].id.split('-').next().unwrap().parse().unwrap();
    assert!(
        unix_millis().abs_diff(first) < 60_000,
        "by the server's clock"
    );
    // Trimmed, and an invalidation does not mind what stands in its place.
    for _ in 0..1_000 {
        invalidate(&here).await;
    }
    let kept: usize = server.command(&["XLEN", "{shop:0}:#stream:#invalidations"]);
    assert!((100..400).contains(&kept), "{kept}");
    let _: () = server.command(&["SET", "{shop:0}:#stream:#invalidations", "somebody's"]);
    invalidate(&here).await;
    let matching = here.invalidate_matching("audited::read", "*").await;
    matching.unwrap();
    for wrong in [redis().audit("", 1), redis().audit("a", 0)] {
        assert_eq!(
            wrong.streams().unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}

/// One that ends half-way too: it is written down before anything is gone.
#[tokio::test]
async fn an_invalidation_in_steps_is_written_down_first() {
    let server = Server::start();
    let redis = Redis::new(server.url()).namespace("shop");
    let here = build(redis.audit("here", 100)).await;
    CacheRuntime::scope(here.clone(), audited::read("tea")).await;
    until("it is filled", || server.records().len() == 1).await;
    let _: () = server.command(&["ACL", "SETUSER", "default", "-unlink"]);
    let error = here.invalidate_matching("audited::read", "t*").await;
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Protocol);
    assert_eq!(server.records().len(), 1);
    let written = streams(&server).latest(Streams::INVALIDATIONS, 10).await;
    let written = written.unwrap();
    assert_eq!(written.len(), 1);
    assert_eq!(written[0].field("what"), Some(&b"audited::read:1:t*"[..]));
}
