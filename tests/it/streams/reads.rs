//! Publishing to a stream, and reading it with and without waiting.

use std::time::Duration;

use multi_tier_cached::stream::{After, StreamLog};
use multi_tier_cached::{ErrorKind, invalidate, multi_tier_cached};
use testbed::Instance;
use testbed::server::Server;
use tokio::time::{Instant, timeout};

use super::{NO_WAIT, ORDERS, blocked_clients, publish, redis, streams, texts, until_blocked};

#[tokio::test]
async fn published_entries_are_read_in_order() {
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
    assert_eq!(server.keys(), [ORDERS]);
}

#[tokio::test]
async fn invalid_arguments_are_refused_and_nothing_is_written() {
    let server = Server::start();
    let streams = streams(&server);
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
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn fields_keep_their_order_and_their_repeated_names() {
    let server = Server::start();
    let streams = streams(&server);
    let fields: [(&str, &[u8]); 4] = [("z", b"1"), ("a", b"2"), ("z", b"3"), ("b", b"4")];
    streams.publish("orders", &fields, None).await.unwrap();
    // Another program may write a name that is not UTF-8.
    let raw: [&[u8]; 5] = [b"XADD", ORDERS.as_bytes(), b"*", b"\xff", b"5"];
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
async fn reads_accept_any_limit_and_a_limit_of_zero_asks_nothing() {
    let server = Server::start();
    let streams = streams(&server);
    let start = &After::Start;
    let group = ("orders", "g");
    assert!(streams.create_group(group.0, group.1, start).await.unwrap());
    let fields: [(&str, &[u8]); 1] = [("text", b"a")];
    let published = streams.publish("orders", &fields, Some(usize::MAX)).await;
    published.unwrap();
    let commands_before = server.calls("xreadgroup") + server.calls("xread");
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
            let commands = server.calls("xreadgroup") + server.calls("xread");
            assert_eq!(commands, commands_before, "a read of nothing was sent");
        }
    }
}

#[tokio::test]
async fn stream_is_trimmed_to_about_its_maximum_length() {
    let server = Server::start();
    let streams = streams(&server);
    for n in 0..1_000 {
        let fields: [(&str, &[u8]); 1] = [("n", &[n as u8])];
        streams.publish("log", &fields, Some(100)).await.unwrap();
    }
    let left = streams.latest("log", 1_000).await.unwrap().len();
    assert!((100..400).contains(&left), "{left}");
}

/// A read that waits has a connection of its own, so neither the cache nor publishers wait for it.
#[tokio::test]
async fn waiting_read_delays_neither_the_cache_nor_publishers() {
    #[multi_tier_cached(ttl = "1h", name = "streams::read")]
    async fn read(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let here = Instance::with_redis(redis(&server)).await;
    let streams = streams(&server);
    for wait in [Duration::from_secs(60), Duration::MAX] {
        let waiting = tokio::spawn({
            let streams = streams.clone();
            async move { streams.read("orders", &After::Now, 10, wait).await }
        });
        until_blocked(&server, 1).await;
        let began = Instant::now();
        here.call(read(1)).await;
        here.invalidate(invalidate!(read, 1)).await;
        publish(&streams, "now").await;
        assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["now"]);
        let took = began.elapsed();
        assert!(took < Duration::from_secs(5), "{took:?}");
    }
}

#[tokio::test]
async fn read_with_a_short_wait_ends_without_entries() {
    let server = Server::start();
    let streams = streams(&server);
    for wait in [Duration::from_nanos(1), Duration::from_millis(30)] {
        let read = streams.read("orders", &After::Now, 10, wait);
        let read = timeout(Duration::from_secs(5), read).await;
        assert_eq!(read.expect("a read that ends").unwrap(), [], "{wait:?}");
    }
}

#[tokio::test]
async fn dropped_read_closes_its_connection() {
    let server = Server::start();
    let streams = streams(&server);
    let read = streams.read("orders", &After::Now, 10, Duration::MAX);
    tokio::select! {
        read = read => panic!("a read of an empty stream has ended: {read:?}"),
        () = until_blocked(&server, 1) => {}
    }
    until_blocked(&server, 0).await;
}

/// The server ends the wait of a read early, as it does when the read waits in steps. The next step
/// must go on from where the read began, or it would miss an entry between the two.
#[tokio::test]
async fn read_from_now_returns_an_entry_published_between_two_of_its_steps() {
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
    until_blocked(&server, 1).await;
    let client = blocked_clients(&server).remove(0);
    let id = client.split([' ', '=']).nth(1).unwrap();
    let _: u64 = server.command(&["CLIENT", "UNBLOCK", id, "TIMEOUT"]);
    publish(&streams, "now").await;
    assert_eq!(texts(&waiting.await.unwrap().unwrap()), ["now"]);
}
