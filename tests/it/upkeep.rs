//! What a link does beside the calls: it sends what is queued, and follows the server's clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Redis, invalidate, multi_tier_cached};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use testbed::log::Log;
use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{build, poll_until, two_tiers, until, until_ok};

static VERSION: AtomicU64 = AtomicU64::new(1);

#[multi_tier_cached(ttl = "1h")]
async fn read(_key: u64) -> u64 {
    VERSION.load(Ordering::SeqCst)
}

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// Lets the user `app` run every command on the controls and on these keys of `read`.
fn permit(server: &Server, keys: &[u64]) {
    let function = "~{cache:0}:it::upkeep::read:1";
    let mut acl: Vec<String> = ["ACL", "SETUSER", "app", "reset", "on", ">pw", "+@all", "&*"]
        .map(ToOwned::to_owned)
        .to_vec();
    // The last is the key that stands for all when the permissions are checked.
    acl.extend(["~{cache:0}:#*", "~{cache:0}:f:1:0*"].map(ToOwned::to_owned));
    acl.push(format!("{function}#*"));
    acl.extend(keys.iter().map(|key| format!("{function}:{key}*")));
    let acl: Vec<&str> = acl.iter().map(String::as_str).collect();
    let _: () = server.command(&acl);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn invalidation_that_the_server_refuses_holds_up_neither_the_link_nor_the_others() {
    let server = Server::start();
    permit(&server, &[1, 2]);
    let proxy = Proxy::to(server.port()).await;
    let here = build(Redis::new(proxy.url().replace("//", "//app:pw@"))).await;
    let there = two_tiers(&server.url()).await;
    for key in [1, 2] {
        on(&here, read(key)).await;
        until("it is stored", || {
            server.records().len() == usize::try_from(key).unwrap()
        })
        .await;
    }
    proxy.set(NetworkFault::Cut);
    until("the link is lost", || !here.tiers()[0].health.connected).await;
    VERSION.store(2, Ordering::SeqCst);
    for key in [2, 1] {
        let receipt = on(&here, async { invalidate!(read, key).await }).await;
        assert_eq!(receipt.unwrap(), Receipt::Queued);
    }
    permit(&server, &[1]);
    proxy.set(NetworkFault::Fair);
    until("the link is made", || here.tiers()[0].health.connected).await;
    assert_eq!(
        here.tiers()[0].health.queued,
        1,
        "one is refused, one was sent"
    );
    until_ok("the other instance has heard of it", async || {
        let found = on(&there, read(1)).await;
        if found == 2 { Ok(()) } else { Err(found) }
    })
    .await;
    // The old record is still at the server, and does not count here.
    assert_eq!(on(&here, read(2)).await, 2);
    permit(&server, &[1, 2]);
    until("the other is sent", || here.tiers()[0].health.queued == 0).await;
    until_ok("the other instance has heard of it", async || {
        let found = on(&there, read(2)).await;
        if found == 2 { Ok(()) } else { Err(found) }
    })
    .await;
}

/// Five portions of a sixth of a second each, where a call may take a quarter.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shutdown_sends_what_is_queued_as_long_as_portions_get_through() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let limit = Duration::from_millis(250);
    let redis = Redis::new(proxy.url()).time_limit(limit);
    let runtime = build(redis).await;
    proxy.set(NetworkFault::Delay(Duration::from_millis(80)));
    on(&runtime, async {
        for key in 1_000..2_280 {
            let mut invalidation = Box::pin(async { invalidate!(read, key).await });
            let _ = poll_until(&mut invalidation, 1).await;
        }
    })
    .await;
    assert!(runtime.tiers()[0].health.queued > 1_000);
    runtime.shutdown().await.unwrap();
}

#[tokio::test]
async fn invalidations_sent_again_are_logged_only_if_there_are_any() {
    let log = Log::default();
    let _captured = log.capture();
    let mut server = Server::start();
    let runtime = build(Redis::new(server.url())).await;
    let sent_again = || log.lines_with("sending them again");
    assert_eq!(log.lines_with("begins a new history").len(), 1);
    assert_eq!(sent_again(), [""; 0], "nothing was invalidated yet");
    let receipt = on(&runtime, async { invalidate!(read, 3).await }).await;
    assert_eq!(receipt.unwrap(), Receipt::Acked);
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
    runtime.shutdown().await.unwrap();
}

/// A proxy that adds `ahead` seconds to the server's clock wherever the server tells it.
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
    // An answer to TIME: an array of two texts, the first of ten digits.
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

/// Instances that were connected before the server's clock was set, and after, judge records alike.
#[tokio::test]
async fn clock_of_the_server_is_followed_when_it_is_set() {
    static LOADS: AtomicU64 = AtomicU64::new(0);

    #[multi_tier_cached(ttl = "1h", tiers = "l2")]
    async fn timed(key: u64) -> u64 {
        LOADS.fetch_add(1, Ordering::SeqCst);
        key
    }

    let server = Server::start();
    let ahead = Arc::new(AtomicU64::new(0));
    let runtime = build(Redis::new(skewed(server.port(), Arc::clone(&ahead)).await)).await;
    on(&runtime, timed(1)).await;
    on(&runtime, timed(1)).await;
    assert_eq!(LOADS.load(Ordering::SeqCst), 1);
    ahead.store(2 * 60 * 60, Ordering::SeqCst);
    until_ok("the record has expired by that clock", async || {
        on(&runtime, timed(1)).await;
        match LOADS.load(Ordering::SeqCst) {
            1 => Err("no load"),
            _ => Ok(()),
        }
    })
    .await;
    assert_eq!(runtime.tiers()[0].health.isolations, 0, "over one link");
}
