//! `top` with a real instance.

use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;
use tokio::time::timeout;

use crate::data::Shop;

#[tokio::test]
async fn top_shows_the_functions_of_an_instance() {
    let shop = Shop::with_users(&[1, 2, 3]).await;
    shop.until_published().await;
    let run = shop.run(&["top", "--once"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    for part in ["1 instances", "cli::user", "shop-1", "l2 ok"] {
        assert!(run.output.contains(part), "{part} is not in {}", run.output);
    }
    let run = shop.run(&["top"]).await;
    assert_eq!(run.code, Some(2), "there is no terminal: {run:?}");
    let run = shop.run(&["top", "--once", "score"]).await;
    assert!(!run.output.contains("cli::user"), "{}", run.output);
    for (filter, is_shown) in [("user", true), ("score", false)] {
        let run = shop.run(&["top", "--json", filter]).await;
        assert_eq!(run.documents().len(), 1, "{run:?}");
        assert_eq!(run.output.contains("cli::user"), is_shown, "{run:?}");
    }
}

#[tokio::test]
async fn top_without_published_instances_says_how_to_publish() {
    let server = testbed::server::Server::start();
    let run = crate::program::run(&["top", "--redis", &server.url()]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.errors.contains("Redis::observe"), "{run:?}");
    let run = crate::program::run(&["top", "--json", "--redis", &server.url()]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    // The reason is another one if the user may not read what is published.
    let _: () = server.command(&["ACL", "SETUSER", "default", "-zrange"]);
    let run = crate::program::run(&["top", "--once", "--redis", &server.url()]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.errors.contains("zrange"), "{run:?}");
}

/// `script` gives the program a terminal.
#[tokio::test]
async fn key_and_control_c_leave_the_terminal_as_it_was() {
    let shop = Shop::with_users(&[1]).await;
    shop.until_published().await;
    for end in ["q", "\u{3}"] {
        let screen = timeout(Duration::from_secs(15), until_ended(&shop, end)).await;
        let (screen, code) = screen.expect("the program ends");
        let (entered, left) = (screen.find("\u{1b}[?1049h"), screen.rfind("\u{1b}[?1049l"));
        assert!(entered < left && entered.is_some(), "{screen:?}");
        assert_eq!(code, Some(0), "{screen:?}");
    }
}

/// Presses a key when functions are shown, and returns all that was written, and the exit code.
async fn until_ended(shop: &Shop, key: &str) -> (String, Option<i32>) {
    let program = env!("CARGO_BIN_EXE_multi-tier-cached");
    // The terminal has no size, because the test has none.
    let top = format!(
        "stty rows 24 cols 80; exec {program} top --redis {}",
        shop.server.url()
    );
    let mut command = Command::new("script");
    command.args(["-qfec", &top, "/dev/null"]);
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("cli::user") {
        assert!(
            output.read_buf(&mut seen).await.unwrap() > 0,
            "it ended: {seen:?}"
        );
    }
    let mut input = child.stdin.take().unwrap();
    input.write_all(key.as_bytes()).await.unwrap();
    output.read_to_end(&mut seen).await.unwrap();
    let code = child.wait().await.unwrap().code();
    (String::from_utf8_lossy(&seen).into_owned(), code)
}
