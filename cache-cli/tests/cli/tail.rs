//! `tail`, and how it ends.

use std::process::Stdio;

use multi_tier_cached::invalidate;
use tokio::io::{AsyncBufReadExt, BufReader};

use crate::data::{Shop, user};
use crate::program;

#[tokio::test]
async fn tail_shows_the_audit_and_the_channel() {
    let shop = Shop::with_users(&[42]).await;
    shop.instance
        .call(async { invalidate!(user, 1).await })
        .await
        .unwrap();
    let url = shop.server.url();
    let mut command = program::command(&["tail", "--json", "--redis", &url]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || {
        let line = lines.next_line().await.unwrap().expect("a line");
        serde_json::from_str::<serde_json::Value>(&line).unwrap()
    };
    let earlier = next().await;
    assert_eq!(
        (&earlier["who"], &earlier["what"]),
        (&"shop-1".into(), &"cli::user:1:1".into())
    );
    shop.instance
        .call(async { invalidate!(user).await })
        .await
        .unwrap();
    let mut seen = [next().await, next().await].map(|event| {
        let what = event["what"].as_str().unwrap();
        format!("{}: {what}", event["source"].as_str().unwrap())
    });
    seen.sort();
    assert_eq!(seen, ["audit: cli::user:1", "message: function cli::user"]);
    // An interrupt ends it in order.
    let id = child.id().unwrap().to_string();
    let killed = std::process::Command::new("kill")
        .args(["-INT", &id])
        .status()
        .unwrap();
    assert!(killed.success());
    assert_eq!(child.wait().await.unwrap().code(), Some(0));
}

#[tokio::test]
async fn tail_filters_and_counts_lines() {
    let shop = Shop::with_users(&[42]).await;
    for id in [1, 2, 3] {
        shop.instance
            .call(async { invalidate!(user, id).await })
            .await
            .unwrap();
    }
    let run = shop.run(&["tail", "--count", "2"]).await;
    assert_eq!(run.output.lines().count(), 2, "{run:?}");
    let run = shop.run(&["tail", "user:1:3", "--count", "1"]).await;
    assert!(run.output.contains("cli::user:1:3"), "{run:?}");
}
