//! A link that is cut in the middle of a batch.

use redis::{AsyncConnectionConfig, RedisConnectionInfo};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, copy, duplex, split};
use tokio::net::UnixStream;

use super::*;

/// Forwards between a client and a server: up to `up` bytes of requests, and then up to `down`
/// bytes of replies. Returns the numbers of both.
async fn forward(client: DuplexStream, server: UnixStream, up: u64, down: u64) -> (u64, u64) {
    let (from_client, mut to_client) = split(client);
    let (from_server, mut to_server) = server.into_split();
    let requests = async {
        let sent = copy(&mut from_client.take(up), &mut to_server).await;
        // The server answers what it has received, and closes the connection.
        let _ = to_server.shutdown().await;
        sent.unwrap_or(0)
    };
    let replies = async {
        let received = copy(&mut from_server.take(down), &mut to_client).await;
        let _ = to_client.shutdown().await;
        received.unwrap_or(0)
    };
    tokio::pin!(requests, replies);
    let mut sent = None;
    let received = tokio::select! {
        // The link is cut when the replies end.
        received = &mut replies => received,
        all = async { sent = Some((&mut requests).await); std::future::pending().await } => all,
    };
    (sent.unwrap_or(0), received)
}

/// Sends one batch over a link that is cut.
async fn ask_over_cut_link(server: &TestServer, up: u64, down: u64) -> Replies {
    let (ours, theirs) = duplex(1 << 20);
    let info = RedisConnectionInfo::default().set_skip_set_lib_name();
    let config = AsyncConnectionConfig::new().set_response_timeout(None);
    let connection = MultiplexedConnection::new_with_config(&info, ours, config);
    let (connection, driver) = connection.await.unwrap();
    let socket = UnixStream::connect(server.socket()).await.unwrap();
    let asked = with_batches(connection, server, async |batches| {
        ask_all(batches, server).await
    });
    let link = async {
        tokio::join!(driver, forward(theirs, socket, up, down));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        replies = asked => replies,
        () = link => unreachable!(),
    }
}

fn failed(replies: &Replies) -> usize {
    let Replies {
        read,
        strong,
        lease,
        fills,
        invalidations,
    } = replies;
    let others = [read.is_err(), strong.is_err(), lease.is_err()].into_iter();
    let all = others.chain(fills.iter().map(Result::is_err));
    all.chain(invalidations.iter().map(Result::is_err))
        .filter(|failed| *failed)
        .count()
}

#[tokio::test]
async fn nothing_is_acknowledged_that_was_not_done_when_the_link_is_cut() {
    let mut server = prepared().await;
    let whole = ask_over_cut_link(&server, u64::MAX, u64::MAX).await;
    assert_eq!(failed(&whole), 0, "{whole:?}");
    assert_true(&whole, &mut server).await;
    let (mut all_failed, mut none_failed) = (0, 0);
    for (step, cut_requests) in [(61, true), (11, false)] {
        for limit in (0..4096).step_by(step) {
            prepare(&mut server).await;
            let (up, down) = match cut_requests {
                true => (limit, u64::MAX),
                false => (u64::MAX, limit),
            };
            let replies = ask_over_cut_link(&server, up, down).await;
            assert_true(&replies, &mut server).await;
            match failed(&replies) {
                0 => {
                    none_failed += 1;
                    break;
                }
                _ => all_failed += 1,
            }
        }
    }
    assert_eq!(none_failed, 2, "both were cut at every place");
    assert!(all_failed > 20, "{all_failed}");
}
