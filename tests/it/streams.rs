//! Streams of an application, beside the cache.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamEntry, StreamLog};
use multi_tier_cached::{
    CacheRuntime, ErrorKind, Redis, Streams, invalidate, multi_tier_cached, unix_millis,
};
use testbed::proxy::{End, Proxy};
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
    let error = streams.publish("orders", &[], None).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    assert_eq!(server.keys(), ["{shop:0}:#stream:orders"]);
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
    assert_eq!(what, ["audited::read:1:tea", "audited::read:1", "*"]);
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
    for wrong in [redis().audit("", 1), redis().audit("a", 0)] {
        assert_eq!(
            wrong.streams().unwrap_err().kind(),
            ErrorKind::Configuration
        );
    }
}
