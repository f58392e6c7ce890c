//! Maintenance of a link: it sends queued invalidations, and follows the server's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Redis, invalidate, multi_tier_cached};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use testbed::log::Log;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{Instance, Truth, assert_reads, poll_until, until, until_ok};

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn read(truth: &Truth, _key: u64) -> u64 {
    truth.read()
}

/// Waits until the instance returns version 2 of `key`.
async fn until_new(instance: &Instance, truth: &Truth, key: u64) {
    until_ok("the other instance has the invalidation", async || {
        let found = instance.call(read(truth, key)).await;
        if found == 2 { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Lets the user `app` run every command on the control keys and on these keys of `read`.
fn permit(server: &Server, keys: &[u64]) {
    let function = "~{cache:0}:it::upkeep::read:1";
    let mut acl: Vec<String> = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "+@all", "&*"]
        .map(ToOwned::to_owned)
        .to_vec();
    // The permissions are checked with the second of these keys, in place of all others.
    acl.extend(["~{cache:0}:#*", "~{cache:0}:f:1:0*"].map(ToOwned::to_owned));
    acl.push(format!("{function}#*"));
    acl.extend(keys.iter().map(|key| format!("{function}:{key}*")));
    let acl: Vec<&str> = acl.iter().map(String::as_str).collect();
    let _: () = server.command(&acl);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidation_that_the_server_refuses_delays_neither_the_link_nor_others() {
    let server = Server::start();
    permit(&server, &[1, 2]);
    let proxy = Proxy::to(server.port()).await;
    let here = Instance::with_redis_at(&proxy.url().replace("//", "//app:pw@")).await;
    let there = Instance::with_redis_at(&server.url()).await;
    let truth = Truth::new();
    for (key, records) in [(1, 1), (2, 2)] {
        here.call(read(&truth, key)).await;
        server.until_records(records).await;
    }
    proxy.set(NetworkFault::Cut);
    here.until_disconnected().await;
    truth.commit();
    for key in [2, 1] {
        let receipt = here.invalidate(invalidate!(read, &truth, key)).await;
        assert_eq!(receipt, Receipt::Queued);
    }
    permit(&server, &[1]);
    proxy.set(NetworkFault::Fair);
    here.until_connected().await;
    let queued = here.tier_health().queued;
    assert_eq!(queued, 1, "one invalidation is refused, one is sent");
    until_new(&there, &truth, 1).await;
    // The server still has the old record, and this instance does not read it.
    assert_eq!(here.call(read(&truth, 2)).await, 2);
    permit(&server, &[1, 2]);
    here.until_queue_is_empty().await;
    until_new(&there, &truth, 2).await;
}

/// The queue takes five batches of a sixth of a second each, and the time limit is a quarter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_sends_the_queue_for_as_long_as_batches_are_acknowledged() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let limit = Duration::from_millis(600);
    let here = Instance::with_redis(Redis::new(proxy.url()).time_limit(limit)).await;
    let truth = Truth::new();
    // Long enough that the first reply comes after the last invalidation, also on a busy machine,
    // and short enough that each portion is acknowledged within the limit.
    proxy.set(NetworkFault::Delay(Duration::from_millis(200)));
    for key in 1_000..2_280 {
        let mut invalidation = Box::pin(here.call(invalidate!(read, &truth, key)));
        let _ = poll_until(&mut invalidation, 1).await;
    }
    assert!(here.tier_health().queued > 1_000);
    here.shutdown().await.unwrap();
}

#[tokio::test]
async fn invalidations_sent_again_are_logged_only_if_there_are_any() {
    let log = Log::default();
    let _captured = log.capture();
    let mut server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let truth = Truth::new();
    let sent_again = || log.lines_with("sending them again");
    assert_eq!(log.lines_with("begins a new history").len(), 1);
    assert_eq!(sent_again(), [""; 0], "nothing was invalidated yet");
    let receipt = here.invalidate(invalidate!(read, &truth, 3)).await;
    assert_eq!(receipt, Receipt::Acked);
    server.restart();
    until("the invalidation is sent again", || {
        !sent_again().is_empty()
    })
    .await;
    let lines = sent_again();
    assert!(
        lines.len() == 1 && lines[0].contains("queued=1"),
        "{lines:?}"
    );
    // The line is written before the link is ready, and a shutdown before that reports the loss.
    here.until_queue_is_empty().await;
    here.shutdown().await.unwrap();
}

/// Starts a proxy that adds `ahead` seconds to the server's clock in each reply to TIME, and
/// returns its address.
async fn skewed(port: u16, ahead: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            let (from_client, to_client) = client.into_split();
            let (from_server, to_server) = server.into_split();
            tokio::spawn(pass(from_client, to_server, Arc::default()));
            tokio::spawn(pass(from_server, to_client, Arc::clone(&ahead)));
        }
    });
    url
}

async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    ahead: Arc<AtomicU64>,
) {
    // A reply to TIME is an array of two strings, the first of ten digits.
    const TIME: &[u8] = b"*2\r\n$10\r\n";
    let mut buffer = vec![0; 1 << 16];
    while let Ok(n @ 1..) = from.read(&mut buffer).await {
        let bytes = &mut buffer[..n];
        let found = bytes.windows(TIME.len()).position(|window| window == TIME);
        if let Some(at) = found.map(|at| at + TIME.len())
            && let Some(digits) = bytes.get_mut(at..at + 10)
            && let Ok(seconds) = str::from_utf8(digits).unwrap_or_default().parse::<u64>()
        {
            let seconds = seconds + ahead.load(Ordering::SeqCst);
            digits.copy_from_slice(seconds.to_string().as_bytes());
        }
        if to.write_all(bytes).await.is_err() {
            return;
        }
    }
}

/// Instances that connected before the server's clock was set and after it agree on which records
/// have expired.
#[tokio::test]
async fn clock_of_the_server_is_followed_when_it_is_set() {
    #[multi_tier_cached(ttl = "1h", tiers = "l2", skip(truth))]
    async fn timed(truth: &Truth) -> u64 {
        truth.read()
    }

    let server = Server::start();
    let ahead = Arc::new(AtomicU64::new(0));
    let url = skewed(server.port(), Arc::clone(&ahead)).await;
    let here = Instance::with_redis_at(&url).await;
    let truth = Truth::new();
    here.call(timed(&truth)).await;
    here.call(timed(&truth)).await;
    assert_reads(&truth, 1, &[&here]).await;
    ahead.store(2 * 60 * 60, Ordering::SeqCst);
    until_ok("the record has expired by that clock", async || {
        here.call(timed(&truth)).await;
        match truth.reads() {
            1 => Err("no load"),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(here.tier_health().isolations, 0, "over one link");
}
