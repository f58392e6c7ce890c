//! Servers that cannot be used, and how they are reported.

use std::net::TcpListener as StdListener;
use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Memcached};
use testbed::Truth;
use testbed::memcached::Memcached as Server;
use testbed::server::Server as RedisServer;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use super::{instance, read, url};

/// Returns a port on which nothing listens.
fn unused_port() -> u16 {
    let listener = StdListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Asserts that calls run their bodies, and that the tier is not connected.
async fn assert_not_used(memcached: Memcached) {
    let here = instance(memcached).await;
    let truth = Truth::new();
    for _ in 0..2 {
        let call = timeout(Duration::from_secs(10), here.call(read(&truth, 1)));
        assert_eq!(call.await.expect("the call returns"), 1);
    }
    assert!(!here.tier_health().connected, "{:?}", here.tier_health());
    here.shutdown().await.unwrap();
}

/// Without CAS numbers there are no leases.
#[tokio::test]
async fn server_without_cas_numbers_is_not_used() {
    let server = Server::start_with(&["-C"]);
    assert_not_used(Memcached::new(server.url())).await;
}

#[tokio::test]
async fn server_of_another_kind_is_not_used() {
    let redis = RedisServer::start();
    assert_not_used(Memcached::new(url(redis.port()))).await;
}

/// Spreads connections over two servers that report the same process id, as servers that were
/// started from one image do. Returns its port.
async fn spread_over(ports: [u16; 2]) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        for port in ports.into_iter().cycle() {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
            tokio::spawn(relay(client, server));
        }
    });
    port
}

/// Passes on requests, and replies with another process id in them.
async fn relay(client: TcpStream, server: TcpStream) {
    let (mut requests, mut to_client) = client.into_split();
    let (mut replies, mut to_server) = server.into_split();
    let mut buffer = vec![0; 1 << 16];
    let reply = async {
        loop {
            let read = replies.read(&mut buffer).await.unwrap_or(0);
            let text = &mut buffer[..read];
            hide_process_id(text);
            if read == 0 || to_client.write_all(text).await.is_err() {
                return;
            }
        }
    };
    tokio::select! {
        () = reply => {}
        _ = tokio::io::copy(&mut requests, &mut to_server) => {}
    }
}

fn hide_process_id(reply: &mut [u8]) {
    if reply.starts_with(b"STAT pid ") {
        let digits = reply[9..].iter_mut();
        digits
            .take_while(|byte| byte.is_ascii_digit())
            .for_each(|digit| *digit = b'1');
    }
}

/// Each of the two would have a log of invalidations of its own.
#[tokio::test]
async fn address_that_leads_to_two_servers_is_not_used() {
    let servers = [Server::start(), Server::start()];
    let port = spread_over(servers.each_ref().map(Server::port)).await;
    let both = instance(Memcached::new(url(port))).await;
    assert!(!both.tier_health().connected, "{:?}", both.tier_health());
    let port = spread_over([servers[0].port(); 2]).await;
    let one = instance(Memcached::new(url(port))).await;
    assert!(one.tier_health().connected, "{:?}", one.tier_health());
}

#[tokio::test]
async fn required_server_that_cannot_be_used_fails_the_build_with_its_address_and_the_reason() {
    let redis = RedisServer::start();
    for (port, reason) in [
        (redis.port(), "does not speak the protocol"),
        (unused_port(), "Connection refused"),
    ] {
        let address = url(port);
        let required = Memcached::new(&address).required();
        let built = CacheRuntime::builder().l2(required).build().await;
        let text = built.expect_err("it cannot be used").to_string();
        let problem = format!("memcached at {address} is required and cannot be used");
        assert!(text.contains(&problem), "{text}");
        assert!(text.contains(reason), "{text}");
    }
    let server = Server::start();
    let here = instance(Memcached::new(server.url()).required()).await;
    assert!(here.tier_health().connected);
}

#[tokio::test]
async fn health_reports_why_the_server_cannot_be_reached() {
    let port = unused_port();
    let here = instance(Memcached::new(url(port))).await;
    let health = here.health().await;
    let last_error = health.tiers[0].last_error.clone().expect("a reason");
    for part in ["Connection refused", &port.to_string()] {
        assert!(last_error.contains(part), "{part:?} is not in {last_error}");
    }
}
