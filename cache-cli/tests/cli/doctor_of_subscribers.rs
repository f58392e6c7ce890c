//! Lines of `doctor` about clients that listen to a channel.

use std::process::Stdio;

use testbed::server::Server;
use testbed::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::doctor::Report;
use crate::program;

/// The channel of the only shard.
const CHANNEL: &str = "{cache:0}:#channel:0";

/// The number of clients that are subscribed to a channel of a shard.
fn subscribers(server: &Server, channel: &str) -> u64 {
    let (_, number): (String, u64) = server.command(&["PUBSUB", "SHARDNUMSUB", channel]);
    number
}

/// Subscribes a client that never reads.
async fn subscribe(server: &Server, command: &str, channel: &str) -> TcpStream {
    let address = ("127.0.0.1", server.port());
    let mut subscriber = TcpStream::connect(address).await.unwrap();
    let request = format!("{command} {channel}\r\n");
    subscriber.write_all(request.as_bytes()).await.unwrap();
    until("it is subscribed", || {
        let of_clients: (String, u64) = server.command(&["PUBSUB", "NUMSUB", channel]);
        of_clients.1 + subscribers(server, channel) == 1
    })
    .await;
    subscriber
}

/// Publishes more than the buffers of the network take.
fn publish(server: &Server, command: &str, channel: &str) {
    let payload = "x".repeat(1_000_000);
    for _ in 0..40 {
        let _: u64 = server.command(&[command, channel, &payload]);
    }
}

#[tokio::test]
async fn subscriber_that_is_about_to_be_disconnected_is_found() {
    for (limits, what) in [
        ("pubsub 50000000 0 0", "the limit is 50000000"),
        ("pubsub 0 20000000 3600", "the limit is 20000000 for 3600 s"),
        (
            "pubsub 500000000 20000000 3600",
            "the limit is 500000000, or 20000000 for 3600 s",
        ),
    ] {
        let server = Server::start();
        let set = ["CONFIG", "SET", "client-output-buffer-limit", limits];
        let _: () = server.command(&set);
        let _subscriber = subscribe(&server, "SSUBSCRIBE", "full").await;
        publish(&server, "SPUBLISH", "full");
        let report = Report::of(&server.url()).await;
        report.finds("warn", "output buffer", what);
    }
}

#[tokio::test]
async fn subscriber_of_another_program_is_no_instance() {
    let server = Server::start();
    let limits = "pubsub 50000000 20000000 3600";
    let _: () = server.command(&["CONFIG", "SET", "client-output-buffer-limit", limits]);
    let _subscriber = subscribe(&server, "SUBSCRIBE", "full").await;
    publish(&server, "PUBLISH", "full");
    let report = Report::of(&server.url()).await;
    report.is_clean();
    report.says("ok", "output buffer", "no subscribers");
}

#[tokio::test]
async fn tail_is_not_counted_as_an_instance_that_cannot_write() {
    let server = Server::start();
    let url = server.url();
    let mut tail = program::command(&["tail", "--redis", &url]);
    let tail = tail.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
    let _tail = tail.unwrap();
    until("it is subscribed", || subscribers(&server, CHANNEL) == 1).await;
    let report = Report::of(&url).await;
    report.is_clean();
    report.says("not known", "heartbeat", "no instance is connected");
    report.says("ok", "instances", "0 listen to the channel, and 1 times");
    let mut instance = TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    let request = format!("SSUBSCRIBE {CHANNEL}\r\n");
    instance.write_all(request.as_bytes()).await.unwrap();
    until("it is subscribed", || subscribers(&server, CHANNEL) == 2).await;
    let report = Report::of(&url).await;
    report.finds("warn", "heartbeat", "none, and instances are connected");
}
