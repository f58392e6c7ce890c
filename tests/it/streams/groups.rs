//! Consumer groups: readers share the entries of a stream, acknowledge them, and claim what a
//! reader that ended has left.

use std::time::Duration;

use multi_tier_cached::ErrorKind;
use multi_tier_cached::stream::{After, StreamLog};
use testbed::server::Server;
use testbed::until;

use super::{NO_WAIT, ORDERS, publish, streams, texts};

#[tokio::test]
async fn group_shares_entries_among_its_readers_and_claims_those_of_an_idle_one() {
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
    // The first two readers do nothing more. A claim takes what is idle for long enough, so both
    // entries must be before it is made.
    let (idle, millis) = (Duration::from_millis(50), "50");
    until("the entries of both readers are idle", || {
        let query = ["XPENDING", ORDERS, "g", "IDLE", millis, "-", "+", "10"];
        server.command::<Vec<redis::Value>>(&query).len() == 2
    })
    .await;
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

/// Entries that a live reader works on precede those of a reader that ended.
#[tokio::test]
async fn idle_entries_are_claimed_when_they_follow_entries_that_are_not_idle() {
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
        let hour = ["IDLE", "3600000", "JUSTID"];
        let claim = ["XCLAIM", ORDERS, "g", "dead", "0", &entry.id];
        let _: Vec<String> = server.command(&[&claim[..], &hour].concat());
    }
    let idle = Duration::from_secs(60 * 30);
    let first = streams.claim("orders", "g", "third", idle, 1).await;
    assert_eq!(texts(&first.unwrap()), ["12"]);
    let rest = streams.claim("orders", "g", "third", idle, 20).await;
    assert_eq!(rest.unwrap(), given[13..]);
}

#[tokio::test]
async fn trimmed_entries_are_left_out_of_reads_and_claims_and_acknowledged() {
    let server = Server::start();
    let streams = streams(&server);
    let start = &After::Start;
    assert!(streams.create_group("orders", "g", start).await.unwrap());
    for text in ["a", "b", "c", "d", "e"] {
        publish(&streams, text).await;
    }
    let given = streams.read_group("orders", "g", "one", 5, NO_WAIT).await;
    assert_eq!(given.unwrap().len(), 5);
    let trim = |left: &str| server.command::<u64>(&["XTRIM", ORDERS, "MAXLEN", left]);
    let pending = || {
        let pending: Vec<redis::Value> = server.command(&["XPENDING", ORDERS, "g"]);
        pending[0].clone()
    };
    assert_eq!(trim("2"), 3);
    // The limit counts entries that exist, so the trimmed ones before them do not use it up.
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
