//! `bench` and `replay` on servers that fail: what they print, and what they leave.

use std::io::Write;
use std::process::Command;
use std::time::Duration;

use testbed::network::Network;
use testbed::proxy::NetworkFault;
use testbed::server::Server;
use testbed::until;
use tokio::time::Instant;

use crate::program::{self, Run, Running};

/// The user `part` of a server, who lacks the commands that the rules remove.
fn url_of_part(server: &Server, rules: &[&str]) -> String {
    let set = [
        "ACL", "SETUSER", "part", "reset", "on", ">pw", "~*", "&*", "+@all",
    ];
    let _: () = server.command(&[&set, rules].concat());
    server.url().replace("redis://", "redis://part:pw@")
}

async fn bench(url: &str) -> Run {
    let mut command = program::command(&["bench", "--seconds", "1", "--redis", url]);
    command.env("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", "5s");
    program::finish(command).await
}

async fn replay(url: &str) -> Run {
    let directory = testbed::directory::Directory::new("replay");
    let file = directory.path().join("trace");
    let mut trace = std::fs::File::create(&file).unwrap();
    trace.write_all(b"a\nb\na\n").unwrap();
    program::run(&["replay", file.to_str().unwrap(), "--redis", url]).await
}

#[tokio::test]
async fn figures_are_printed_before_a_failure_of_the_removal() {
    let server = Server::start();
    let url = url_of_part(&server, &["-scan"]);
    for (run, figures) in [
        (bench(&url).await, "round trip"),
        (replay(&url).await, "l2 hits"),
    ] {
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.output.contains(figures), "{run:?}");
        assert!(run.errors.contains("may be left"), "{run:?}");
    }
}

#[tokio::test]
async fn command_that_is_named_removes_keys_with_any_characters() {
    let server = Server::start();
    let run = bench(&url_of_part(&server, &["-scan"])).await;
    let command = run.errors.split_once("; help: ").unwrap().1.trim();
    let (_, pattern) = command.split_once("--pattern '").unwrap();
    let (pattern, _) = pattern.split_once('\'').unwrap();
    let name = pattern
        .replace('*', "0")
        .replace("}:0", "}:f:1:'a',\"b\"\\c d");
    let _: () = server.command(&["SET", &name, "x"]);
    let _: () = server.command(&["SET", "{cache:0}:f:1:a", "x"]);
    let cli = format!("redis-cli -p {}", server.port());
    let command = command.replace("redis-cli", &cli);
    let status = Command::new("sh").args(["-c", &command]).output().unwrap();
    assert!(status.status.success(), "{command}: {status:?}");
    assert_eq!(server.keys(), ["{cache:0}:f:1:a"], "{command}");
}

#[tokio::test]
async fn user_who_can_store_nothing_leaves_nothing() {
    let server = Server::start();
    let few: [&[&str]; 2] = [
        &["-set", "-unlink", "-scan"],
        &["-eval", "-evalsha", "-scan"],
    ];
    for rules in few {
        let url = url_of_part(&server, rules);
        for run in [bench(&url).await, replay(&url).await] {
            let left = server.keys();
            let says = run.errors.contains("may be left");
            assert_eq!(says, !left.is_empty(), "{rules:?}: {run:?}, {left:?}");
        }
    }
}

/// Longer than the tier waits for a sign of life.
#[tokio::test]
async fn stall_of_some_seconds_does_not_end_the_run() {
    let server = Server::start();
    let network = Network::to(server.port()).await;
    let url = &network.urls()[0];
    let running = Running::start(&["bench", "--seconds", "6", "--json", "--redis", url]);
    until("the run has begun", || {
        server.keys().iter().any(|key| key.contains(":bench:1:"))
    })
    .await;
    network.set(NetworkFault::BlackHole);
    let began = Instant::now();
    let stall = Duration::from_millis(2_500);
    until("the stall has ended", || began.elapsed() > stall).await;
    network.set(NetworkFault::Fair);
    let run = running.finish().await;
    assert_eq!(run.code, Some(1), "some operations have failed: {run:?}");
    let document = &run.documents()[0];
    let operations = document["operations"].as_array().unwrap();
    assert!(operations.iter().any(|of| of["failed"] != 0), "{document}");
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn figures_are_printed_before_the_loss_of_the_server() {
    let server = Server::start();
    let network = Network::to(server.port()).await;
    let url = &network.urls()[0];
    let running = Running::start(&["bench", "--seconds", "600", "--redis", url]);
    until("some rounds have ended", || server.calls("get") > 100).await;
    network.set(NetworkFault::BlackHole);
    let run = running.finish().await;
    assert_eq!(run.code, Some(3), "{run:?}");
    assert!(run.output.contains("round trip"), "{run:?}");
}
