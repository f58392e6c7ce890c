//! Lines of `doctor` about the keys of instances, and about foreign keys in their place.

use testbed::server::Server;
use testbed::until;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use crate::doctor::Report;

#[tokio::test]
async fn server_without_instances_has_no_history_which_is_no_mistake() {
    let server = Server::start();
    let report = Report::of(&server.url()).await;
    report.is_clean();
    assert_eq!(
        report.checks("not known"),
        ["history", "heartbeat", "settings"]
    );
}

#[tokio::test]
async fn history_without_a_sequence_is_found() {
    let server = Server::start();
    let _: () = server.command(&["SET", "{cache:0}:#history", "5:server", "PX", "60000"]);
    let report = Report::of(&server.url()).await;
    report.finds("warn", "history", "no sequence");
}

#[tokio::test]
async fn instances_that_cannot_write_are_found() {
    let server = Server::start();
    let mut instance = TcpStream::connect(("127.0.0.1", server.port()))
        .await
        .unwrap();
    let subscribe = b"SSUBSCRIBE {cache:0}:#channel:0\r\n";
    instance.write_all(subscribe).await.unwrap();
    until("it is subscribed", || {
        let channel = "{cache:0}:#channel:0";
        let (_, number): (String, u64) = server.command(&["PUBSUB", "SHARDNUMSUB", channel]);
        number == 1
    })
    .await;
    let report = Report::of(&server.url()).await;
    report.finds("warn", "heartbeat", "none, and instances are connected");
    let _: () = server.command(&["SET", "{cache:0}:#heartbeat", "1", "PX", "2000"]);
    let report = Report::of(&server.url()).await;
    report.finds("warn", "heartbeat", "ms ago, and instances are connected");
}

#[tokio::test]
async fn records_that_are_damaged_foreign_or_without_expiry_are_found() {
    let server = Server::start();
    let record = "{cache:0}:shop::price:1:42";
    let set = |arguments: &[&str]| {
        let _: redis::Value = server.command(&["FLUSHALL"]);
        let _: redis::Value = server.command(arguments);
    };
    set(&["SET", record, "changed", "PX", "60000"]);
    let report = Report::of(&server.url()).await;
    report.finds("warn", "records", "shop::price:1: 1 of 1 are damaged");
    let command = report.command_of("records");
    assert_eq!(
        command,
        "multi-tier-cached invalidate 'shop::price:1' --matching '*'"
    );
    set(&["HSET", record, "a", "b"]);
    let _: redis::Value = server.command(&["PEXPIRE", record, "60000"]);
    let report = Report::of(&server.url()).await;
    report.finds("warn", "records", "1 of 1 are not of this cache");
    set(&["SET", "{cache:0}:theirs", "a", "PX", "60000"]);
    let report = Report::of(&server.url()).await;
    report.finds("warn", "records", "keys without a function: 1 of 1");
    set(&["SET", record, "changed"]);
    let report = Report::of(&server.url()).await;
    assert!(
        report.run.output.contains("1 of 1 have no expiry"),
        "{report:#?}"
    );
}
