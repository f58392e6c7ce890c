mod cut;
mod dropped;
mod equivalence;

use std::time::Duration;

use cache_core::tier::kit::HeldLeases;
use cache_core::tier::{FillResult, Lease, RecordKey, Stamp};

use super::*;
use crate::commands;
use crate::commands::fill::FilledKey;
use crate::commands::invalidate::InvalidatedKey;
use crate::commands::lease_free::FreeKey;
use crate::commands::read::ReadReply;
use crate::commands::stamps::Stamped;
use crate::commands::testing::{EPOCH, HISTORY, MINUTE, TestServer};
use crate::leases::RedisLease;
use cache_core::tier::FunctionKey;

const RECORD: &[u8] = b"a filled record";

/// Index of the last byte that is read of a record.
const LAST: usize = 100;

fn read_of(server: &TestServer, key: &RecordKey) -> Read {
    Read {
        record: server.keys.record(key),
        last: LAST,
    }
}

fn free_key(server: &TestServer, key: &RecordKey, token: u64, stamp: Stamp) -> FreeKey {
    FreeKey {
        record: server.keys.record(key),
        stamp: stamped(key, stamp),
        token,
        life: MINUTE,
        with_mark: false,
    }
}

fn filled_key(server: &TestServer, key: &RecordKey, token: u64, stamp: Stamp) -> FilledKey {
    FilledKey {
        name: server.keys.record(key),
        token,
        stamp: stamped(key, stamp),
        record: RECORD.to_vec(),
        life: MINUTE,
        digest: key.digest,
    }
}

fn stamped(key: &RecordKey, stamp: Stamp) -> Stamped {
    let function = Arc::clone(&key.function);
    Stamped { function, stamp }
}

fn invalidated_key(server: &TestServer, key: &RecordKey) -> InvalidatedKey {
    InvalidatedKey {
        record: server.keys.record(key),
        digest: key.digest,
    }
}

/// A server with records under the keys 0, 1, 5 and 6, and leases on the keys 2 and 3.
async fn prepared() -> TestServer {
    let mut server = TestServer::start().await;
    prepare(&mut server).await;
    server
}

async fn prepare(server: &mut TestServer) {
    server.ask::<()>(&["FLUSHALL"]).await;
    server.attach().await;
    commands::load(&mut server.connection).await.unwrap();
    for (at, token) in [(2, 22), (3, 23), (4, 24)] {
        server.lease(&key(at), token).await;
    }
    for at in [0, 1, 5, 6] {
        let name = server.keys.record(&key(at));
        server.ask::<()>(&["SET", &name, "old"]).await;
    }
    let guards = server.keys.lease(&key(4));
    server.ask::<()>(&["DEL", &guards]).await;
}

fn key(at: u64) -> RecordKey {
    let function = Arc::new(FunctionKey::new("f", 1));
    RecordKey::new(function, at.to_string(), 100 + at)
}

const STAMP: Stamp = Stamp {
    epoch: EPOCH,
    history: HISTORY,
};

/// The replies to one request of each kind, and to a second fill and a second invalidation.
#[derive(Debug)]
struct Replies {
    read: Result<Option<Vec<u8>>, RedisError>,
    strong: Result<ReadReply, RedisError>,
    lease: Result<LeaseReply, RedisError>,
    fills: [Result<FillResult, RedisError>; 2],
    invalidations: [Result<(), RedisError>; 2],
}

/// Sends requests to a server of [`prepared`] in one batch.
async fn ask_all(batches: &Batches, server: &TestServer) -> Replies {
    let crowd = [(); CROWD].map(|()| batches.begin());
    let place = || batches.begin().place().expect("there is a crowd");
    let function = key(1).function;
    let strong = StrongRead {
        read: read_of(server, &key(1)),
        function,
    };
    let lease = LeaseRequest {
        key: free_key(server, &key(4), 24, STAMP),
        holder: None,
    };
    let fill = |at, token| place().fill(filled_key(server, &key(at), token, STAMP));
    let invalidate = |at| place().invalidate(invalidated_key(server, &key(at)));
    let (read, strong, lease, one, other, first, second) = tokio::join!(
        place().read(read_of(server, &key(0))),
        place().strong_read(strong),
        place().lease(lease),
        fill(2, 22),
        fill(3, 23),
        invalidate(5),
        invalidate(6),
    );
    drop(crowd);
    Replies {
        read,
        strong,
        lease,
        fills: [one, other],
        invalidations: [first, second],
    }
}

/// Asserts that everything that was acknowledged was done.
async fn assert_true(replies: &Replies, server: &mut TestServer) {
    let Replies {
        read,
        strong,
        lease,
        fills,
        invalidations,
    } = replies;
    if let Ok(record) = read {
        assert_eq!(record.as_deref(), Some(&b"old"[..]));
    }
    if let Ok(reply) = strong {
        assert_eq!(reply.record.as_deref(), Some(&b"old"[..]));
        assert_eq!((reply.epoch, reply.history), (Some(EPOCH), Some(HISTORY)));
    }
    if let Ok(lease) = lease {
        assert!(lease.is_granted);
        let name = server.keys.lease(&key(4));
        assert_eq!(server.text(&name).await, "24:11:5:x");
    }
    for (at, fill) in (2..).zip(fills) {
        if let Ok(fill) = fill {
            assert_eq!(*fill, FillResult::Stored);
            let name = server.keys.record(&key(at));
            assert_eq!(server.text(&name).await.as_bytes(), RECORD);
        }
    }
    for (at, invalidation) in (5..).zip(invalidations) {
        if invalidation.is_ok() {
            let name = server.keys.record(&key(at));
            assert_eq!(server.text(&name).await, "");
        }
    }
}

/// Runs `work` with batches on that connection.
async fn with_batches<T>(
    connection: MultiplexedConnection,
    server: &TestServer,
    work: impl AsyncFnOnce(&Batches) -> T,
) -> T {
    let (batches, task) = Batches::new(connection, Arc::clone(&server.keys));
    tokio::select! {
        // The task must not end before the work that its end would answer.
        () = task => panic!("the task ends with its link"),
        done = work(&batches) => done,
    }
}

#[tokio::test]
async fn batch_is_answered_although_the_server_has_forgotten_the_scripts() {
    let mut server = prepared().await;
    server.ask::<()>(&["SCRIPT", "FLUSH", "SYNC"]).await;
    let connection = server.connection.clone();
    let replies = with_batches(connection, &server, async |batches| {
        ask_all(batches, &server).await
    })
    .await;
    let Replies {
        read,
        strong,
        lease,
        fills,
        invalidations,
    } = &replies;
    assert!(read.is_ok() && strong.is_ok() && lease.is_ok());
    assert!(fills.iter().all(Result::is_ok) && invalidations.iter().all(Result::is_ok));
    assert_true(&replies, &mut server).await;
}

#[tokio::test]
async fn operation_is_sent_alone_if_there_is_no_crowd_or_no_place() {
    let server = TestServer::start().await;
    let (batches, _task) = Batches::new(server.connection.clone(), Arc::clone(&server.keys));
    let crowd = [(); CROWD].map(|()| batches.begin());
    assert!(crowd.iter().all(|running| running.place().is_none()));
    let running = batches.begin();
    let places: Vec<_> = (0..MOST_REQUESTS).map(|_| running.place()).collect();
    assert!(places.iter().all(Option::is_some));
    assert!(running.place().is_none(), "the queue is full");
    drop((places, crowd));
    assert!(
        running.place().is_some(),
        "the decision was made at the beginning"
    );
    drop(running);
    assert!(batches.begin().place().is_none());
}
