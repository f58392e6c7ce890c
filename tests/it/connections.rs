//! A link to Redis that ends closes its connections at once, whichever futures hold them and
//! whether or not the server responds.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::pin::Pin;
use std::time::Duration;

use multi_tier_cached::tier::Receipt;
use multi_tier_cached::{Error, ErrorKind, Redis, invalidate, multi_tier_cached};
use tokio::time::timeout;

use testbed::proxy::{NetworkFault, Proxy};
use testbed::server::Server;
use testbed::{Instance, poll_once, until};

/// Time for something that takes milliseconds.
const SOON: Duration = Duration::from_secs(5);

/// Time limit that no test reaches.
const FAR: Duration = Duration::from_secs(300);

#[multi_tier_cached(ttl = "1h")]
async fn read(key: u64) -> u64 {
    key
}

type Held<'a> = Pin<Box<dyn Future<Output = Result<Receipt, Error>> + 'a>>;

/// Begins an invalidation by one poll, after which it holds a connection.
fn begin(instance: &Instance, key: u64) -> Held<'_> {
    let mut held: Held<'_> = Box::pin(instance.call(invalidate!(read, key)));
    assert!(poll_once(&mut held).is_pending());
    held
}

/// Returns the sockets of this process, by their inodes.
fn open_sockets() -> BTreeSet<String> {
    let files = std::fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| std::fs::read_link(file.unwrap().path()).ok());
    let inode = |link: PathBuf| {
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        Some(inode.to_owned())
    };
    links.filter_map(inode).collect()
}

/// Returns the connections of this process to the port, by their inodes.
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

/// Waits until the link to the port has both of its connections, and returns them.
async fn link_to(port: u16) -> BTreeSet<String> {
    until("the link has two connections", || {
        connections(port).len() == 2
    })
    .await;
    connections(port)
}

async fn until_closed(sockets: &BTreeSet<String>) {
    until("the sockets are closed", || {
        open_sockets().is_disjoint(sockets)
    })
    .await;
}

/// Returns the last command of each client of the server.
fn last_commands(server: &Server) -> Vec<String> {
    let list: String = server.command(&["CLIENT", "LIST"]);
    let commands = list
        .split_whitespace()
        .filter_map(|field| field.strip_prefix("cmd="));
    commands.map(ToOwned::to_owned).collect()
}

/// Loses three links to a server that does not respond, while futures hold connections of each
/// link.
async fn lose_links(url: String, port: u16, stop: impl Fn(), resume: impl Fn()) {
    let redis = Redis::new(url).connect_limit(Duration::from_millis(250));
    let here = Instance::with_redis(redis).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        here.until_coherent().await;
        let before = here.tier_health().isolations;
        let sockets = link_to(port).await;
        stop();
        held.extend((0..20).map(|key| begin(&here, key)));
        here.until_isolated_since(before).await;
        until_closed(&sockets).await;
        resume();
    }
    for future in held {
        let result = timeout(SOON, future).await.expect("it ends");
        assert_eq!(result.unwrap(), Receipt::Queued);
    }
    assert_eq!(here.call(read(1)).await, 1);
}

#[tokio::test]
async fn held_futures_keep_no_socket_of_lost_links_to_a_frozen_server() {
    let server = Server::start();
    let (stop, resume) = (|| server.freeze(), || server.thaw());
    lose_links(server.url(), server.port(), stop, resume).await;
}

#[tokio::test]
async fn held_futures_keep_no_socket_of_lost_links_to_an_unreachable_server() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let stop = || proxy.set(NetworkFault::BlackHole);
    let resume = || proxy.set(NetworkFault::Fair);
    lose_links(proxy.url(), proxy.port(), stop, resume).await;
}

#[tokio::test]
async fn held_futures_resolve_when_the_link_to_a_frozen_server_is_lost() {
    let server = Server::start();
    let redis = Redis::new(server.url()).time_limit(FAR);
    let here = Instance::with_redis(redis).await;
    here.until_coherent().await;
    let mut waits = wait_for_replica(&server, &here).await;
    assert!(poll_once(&mut waits).is_pending());
    // The server delays its replies to scripts from now on, and not those to other commands.
    let _: () = server.command(&["CLIENT", "PAUSE", "600000", "WRITE"]);
    let held: Vec<_> = (0..20).map(|key| begin(&here, key)).collect();
    let before = here.tier_health().isolations;
    let _: u64 = server.command(&["CLIENT", "KILL", "TYPE", "pubsub"]);
    server.freeze();
    here.until_isolated_since(before).await;
    for future in held {
        let result = timeout(SOON, future).await.expect("it ends");
        assert_eq!(result.unwrap(), Receipt::Queued);
    }
    let result = timeout(SOON, waits).await.expect("it ends");
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Unavailable);
}

/// Begins an invalidation that waits on a connection of its own for a replica that does not exist.
async fn wait_for_replica<'a>(server: &Server, instance: &'a Instance) -> Held<'a> {
    let replicated = async { invalidate!(read, 1).replicated(1).await };
    let mut held: Held<'_> = Box::pin(instance.call(replicated));
    until("it waits for a replica", || {
        assert!(poll_once(&mut held).is_pending());
        last_commands(server)
            .iter()
            .any(|command| command == "wait")
    })
    .await;
    held
}

#[tokio::test]
async fn shutdown_closes_held_sockets_although_the_server_is_frozen() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let sockets = link_to(server.port()).await;
    server.freeze();
    let held: Vec<_> = (0..20).map(|key| begin(&here, key)).collect();
    here.shutdown().await.unwrap();
    until_closed(&sockets).await;
    drop(held);
}

#[tokio::test]
async fn shutdown_waits_for_replies_to_requests_in_flight() {
    let server = Server::start();
    let proxy = Proxy::to(server.port()).await;
    let here = Instance::with_redis_at(&proxy.url()).await;
    here.until_coherent().await;
    proxy.set(NetworkFault::Delay(Duration::from_millis(30)));
    let held = begin(&here, 1);
    here.shutdown().await.unwrap();
    assert_eq!(held.await.unwrap(), Receipt::Acked);
}
