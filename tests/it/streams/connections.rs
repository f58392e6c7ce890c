//! Connections of streams: a lost one is replaced, and a command that may have been done is not
//! sent again.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::{Error, ErrorKind, Redis, Streams};
use testbed::proxy::{End, NetworkFault, Proxy};
use testbed::server::Server;
use testbed::until;
use tokio::time::{Instant, timeout};

use super::{ORDERS, publish, streams, texts, until_blocked};

/// Makes `n` reads wait at the same time, so that as many connections are kept for later.
async fn keep_connections(streams: &Streams, n: usize, server: &Server) {
    let waiting: Vec<_> = (0..n)
        .map(|_| {
            let streams = streams.clone();
            let wait = Duration::from_secs(60);
            tokio::spawn(async move { streams.read("orders", &After::Now, 1, wait).await })
        })
        .collect();
    until_blocked(server, n).await;
    publish(streams, "now").await;
    for waiting in waiting {
        assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["now"]);
    }
}

#[tokio::test]
async fn first_command_after_a_restart_of_the_server_succeeds() {
    let mut server = Server::start();
    let streams = streams(&server);
    keep_connections(&streams, 6, &server).await;
    server.restart();
    let wait = Duration::from_millis(1);
    for _ in 0..2 {
        let read = streams.read("orders", &After::Start, 1, wait).await;
        assert_eq!(read.unwrap(), []);
    }
    // Creating a group is not sent twice, so it must not use a connection that is known to be
    // closed.
    let start = &After::Start;
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    keep_connections(&streams, 6, &server).await;
    server.restart();
    streams.latest("orders", 1).await.unwrap();
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    for _ in 0..2 {
        let read = streams.read_group("orders", "g", "r", 1, wait).await;
        assert_eq!(read.unwrap(), []);
    }
}

/// If a read of a group were sent again, it would pass over the entries of its lost reply.
#[tokio::test]
async fn command_that_may_have_been_done_is_not_sent_again() {
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
        let done = until("the server has done it", || server.calls(command) > before);
        tokio::select! {
            () = done => {}
            kind = &mut *asked => panic!("{command} has ended: {kind:?}"),
        }
        proxy.end(End::Reset);
        proxy.set(NetworkFault::Fair);
        assert_eq!(asked.await, ErrorKind::Unavailable, "{command}");
        assert_eq!(server.calls(command), before + 1, "{command}");
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

/// Kind of the error with which a command ends.
async fn kind<T: std::fmt::Debug>(asked: impl Future<Output = Result<T, Error>>) -> ErrorKind {
    asked.await.unwrap_err().kind()
}

/// On a connection that is open on this side only, no entry would ever arrive, so a read without an
/// end must ask again from time to time.
#[tokio::test]
async fn read_without_end_fails_when_its_connection_is_half_open() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let streams = Redis::new(proxy.url()).streams().unwrap();
    let waiting = tokio::spawn(async move {
        let start = &After::Start;
        streams.read("orders", start, 10, Duration::MAX).await
    });
    until_blocked(&server, 1).await;
    assert!(proxy.strand() > 0, "no connection was stranded");
    tokio::time::pause();
    let read = timeout(Duration::from_secs(600), waiting).await;
    let error = read.expect("a read that ends").unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::TimedOut);
}

/// The host name leads to another server after a failover.
#[tokio::test]
async fn connections_to_a_server_that_became_a_replica_are_replaced() {
    let (before, after) = (Server::start(), Server::start());
    let proxy = Proxy::to(before.port()).await;
    let redis = Redis::new(proxy.url()).namespace("shop");
    let behind = redis.streams().unwrap();
    keep_connections(&behind, 4, &before).await;
    let port = after.port().to_string();
    let group = ["CREATE", ORDERS, "g", "0", "MKSTREAM"];
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
async fn entry_is_not_published_twice_when_its_connection_is_reset() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let streams = Redis::new(proxy.url()).streams().unwrap();
    publish(&streams, "a").await;
    proxy.end(End::Reset);
    // The client may notice the reset before it sends the entry, and use another connection, or
    // fail. Either is right if it agrees with what the stream has.
    let fields: [(&str, &[u8]); 1] = [("text", b"b")];
    let published = streams.publish("orders", &fields, None).await;
    let entries = streams.latest("orders", 10).await.unwrap();
    let copies = texts(&entries).iter().filter(|text| **text == "b").count();
    assert_eq!(copies, usize::from(published.is_ok()), "{published:?}");
}

#[tokio::test]
async fn command_fails_within_its_time_limit_when_the_server_is_frozen_and_succeeds_afterwards() {
    let server = Server::start();
    let redis = Redis::new(server.url()).time_limit(Duration::from_millis(100));
    let streams = redis.streams().unwrap();
    publish(&streams, "a").await;
    server.freeze();
    let began = Instant::now();
    let error = streams.latest("orders", 1).await.unwrap_err();
    let took = began.elapsed();
    server.thaw();
    assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}");
    assert!(took < Duration::from_secs(2), "{took:?}");
    publish(&streams, "c").await;
}
