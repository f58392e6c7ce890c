//! A link to Redis that ends closes its connections at once, whatever futures hold them and whether or not the server
//! responds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{CacheRuntime, Error, ErrorKind, Redis, invalidate, multi_tier_cached};
use tokio::time::timeout;

use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{build, until};

/// Time for something that takes milliseconds.
const SOON: Duration = Duration::from_secs(5);

/// A time limit that no test reaches.
const FAR: Duration = Duration::from_secs(300);

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

type Held = Pin<Box<dyn Future<Output = Result<Receipt, Error>>>>;

async fn on<T>(runtime: &CacheRuntime, future: impl Future<Output = T>) -> T {
    CacheRuntime::scope(runtime.clone(), future).await
}

/// Begins an invalidation, and polls it once: it holds a connection from then on.
fn begin(runtime: &CacheRuntime, key: u64) -> Held {
    let scope = CacheRuntime::scope(runtime.clone(), async move { invalidate!(read, key).await });
    let mut held: Held = Box::pin(scope);
    assert!(is_pending(&mut held));
    held
}

fn is_pending(held: &mut Held) -> bool {
    let poll = held.as_mut().poll(&mut Context::from_waker(Waker::noop()));
    matches!(poll, Poll::Pending)
}

fn isolations(runtime: &CacheRuntime) -> u64 {
    runtime.tiers()[0].health.isolations
}

async fn coherent(runtime: &CacheRuntime) {
    until("the tier is coherent", || {
        runtime.tiers()[0].health.coherent_for.is_some()
    })
    .await;
}

/// The sockets of this process, by their inodes.
fn open_sockets() -> BTreeSet<String> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let inode = |link: PathBuf| {
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    };
    links.filter_map(inode).collect()
}

/// The connections of this process to the port, by their inodes.
fn connections(port: u16) -> BTreeSet<String> {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let remote = format!("0100007F:{port:04X}");
    let inode = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        (fields[2] == remote).then(|| fields[9].to_owned())
    };
    let inodes: BTreeSet<_> = table.lines().skip(1).filter_map(inode).collect();
    inodes.intersection(&open_sockets()).cloned().collect()
}

/// The connections of the link to the port, once it has both.
async fn link_to(port: u16) -> BTreeSet<String> {
    until("the link has two connections", || {
        connections(port).len() == 2
    })
    .await;
    connections(port)
}

async fn closed(sockets: &BTreeSet<String>) {
    until("the sockets are closed", || {
        open_sockets().is_disjoint(sockets)
    })
    .await;
}

/// The commands that the server's clients sent last.
fn last_commands(server: &Server) -> Vec<String> {
    let list: String = server.command(&["CLIENT", "LIST"]);
    let commands = list
        .split_whitespace()
        .filter_map(|field| field.strip_prefix("cmd="));
    commands.map(ToOwned::to_owned).collect()
}

/// Loses three links to a server that does not respond, while futures hold connections of each.
async fn lose_links(url: String, port: u16, stop: impl Fn(), resume: impl Fn()) {
    let redis = Redis::new(url).connect_limit(Duration::from_millis(250));
    let runtime = build(redis).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        coherent(&runtime).await;
        let before = isolations(&runtime);
        let sockets = link_to(port).await;
        stop();
        held.extend((0..20).map(|key| begin(&runtime, key)));
        until("the link is lost", || isolations(&runtime) > before).await;
        closed(&sockets).await;
        resume();
    }
    for future in held {
        let result = timeout(SOON, future).await.expect("it ends");
        assert_eq!(result.unwrap(), Receipt::Queued);
    }
    assert_eq!(on(&runtime, read(1)).await, 1);
}

#[tokio::test]
async fn held_futures_keep_no_socket_of_lost_links_to_frozen_server() {
    let server = Server::start();
    let (stop, resume) = (|| server.freeze(), || server.thaw());
    lose_links(server.url(), server.port(), stop, resume).await;
}

#[tokio::test]
async fn held_futures_keep_no_socket_of_lost_links_to_unreachable_server() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let stop = || proxy.set(NetworkFault::BlackHole);
    let resume = || proxy.set(NetworkFault::Fair);
    lose_links(proxy.url(), proxy.port(), stop, resume).await;
}

#[tokio::test]
async fn held_futures_resolve_when_link_is_lost_although_server_is_frozen() {
    let server = Server::start();
    let runtime = build(Redis::new(server.url()).time_limit(FAR)).await;
    coherent(&runtime).await;
    let mut waits = wait_for_replica(&server, &runtime).await;
    assert!(is_pending(&mut waits));
    // Scripts get no reply from now on. The next command does.
    let _: () = server.command(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    let held: Vec<_> = (0..20).map(|key| begin(&runtime, key)).collect();
    let before = isolations(&runtime);
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    server.freeze();
    until("the link is lost", || isolations(&runtime) > before).await;
    for future in held {
        let result = timeout(SOON, future).await.expect("it ends");
        assert_eq!(result.unwrap(), Receipt::Queued);
    }
    let result = timeout(SOON, waits).await.expect("it ends");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// An invalidation that waits on a connection of its own for a replica that is not there.
async fn wait_for_replica(server: &Server, runtime: &CacheRuntime) -> Held {
    let replicated = async { invalidate!(read, 1).replicated(1).await };
    let mut held: Held = Box::pin(CacheRuntime::scope(runtime.clone(), replicated));
    until("it waits for a replica", || {
        assert!(is_pending(&mut held));
        last_commands(server)
            .iter()
            .any(|command| command == "wait")
    })
    .await;
    held
}

#[tokio::test]
async fn shutdown_closes_sockets_that_futures_hold_although_server_is_frozen() {
    let server = Server::start();
    let runtime = build(Redis::new(server.url())).await;
    coherent(&runtime).await;
    let sockets = link_to(server.port()).await;
    server.freeze();
    let held: Vec<_> = (0..20).map(|key| begin(&runtime, key)).collect();
    runtime.shutdown().await.unwrap();
    closed(&sockets).await;
    drop(held);
}

#[tokio::test]
async fn shutdown_waits_for_replies_to_requests_in_flight() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let runtime = build(Redis::new(proxy.url())).await;
    coherent(&runtime).await;
    proxy.set(NetworkFault::Delay(Duration::from_millis(30)));
    let held = begin(&runtime, 1);
    runtime.shutdown().await.unwrap();
    assert_eq!(held.await.unwrap(), Receipt::Acked);
}
