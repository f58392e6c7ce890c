//! Errors as text and as JSON, and texts that come from elsewhere.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::Stdio;

use serde_json::{Value, json};
use testbed::server::Server;
use tokio::io::AsyncWriteExt;

use crate::data::Shop;
use crate::program::{self, Run, finish, run};

/// The only document on the standard error.
fn error(run: &Run) -> Value {
    serde_json::from_str(&run.errors).unwrap_or_else(|_| panic!("no JSON: {run:?}"))
}

#[tokio::test]
async fn names_from_elsewhere_make_no_lines_of_their_own() {
    let shop = Shop::with_users(&[42]).await;
    let forged = "{cache:0}:f:1:a\nok        version\u{202e}";
    let _: () = shop.server.command(&["SET", forged, "x"]);
    let run = shop.run(&["keys", "f:1"]).await;
    assert_eq!(run.output, "a\\u000aok        version\\u202e\n", "{run:?}");
    let who = "me\nredis      good";
    let stream = "{cache:0}:#stream:#invalidations";
    let what = "cli::user:1:42";
    let _: redis::Value = shop
        .server
        .command(&["XADD", stream, "*", "who", who, "what", what]);
    let run = shop.run(&["explain", "cli::user", "42"]).await;
    let states = run.output.lines().filter(|line| line.starts_with("redis "));
    assert_eq!(states.count(), 1, "{run:?}");
    let run = shop.run(&["tail", "--count", "1"]).await;
    assert_eq!(run.output.lines().count(), 1, "{run:?}");
}

#[tokio::test]
async fn variable_that_is_no_utf_8_is_ignored() {
    let server = Server::start();
    let mut command = program::command(&["keys", "--redis", &server.url()]);
    command.env("OTHER", OsStr::from_bytes(b"\xff"));
    let run = finish(command).await;
    assert_eq!((run.code, &*run.errors), (Some(0), ""), "{run:?}");
}

#[tokio::test]
async fn exit_code_does_not_depend_on_a_reader_of_the_errors() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = program::command(&["keys", "--redis", "redis://127.0.0.1:1"]);
    let status = command.stderr(writer).stdout(Stdio::null()).status().await;
    assert_eq!(status.unwrap().code(), Some(3));
}

#[tokio::test]
async fn errors_and_notes_are_json_if_the_output_is() {
    let shop = Shop::with_users(&[41, 42]).await;
    let missing = shop.run(&["--json", "get", "cli::user", "7"]).await;
    let document = error(&missing);
    assert_eq!(document["exit_code"], 1, "{document}");
    assert!(
        document["error"].as_str().unwrap().contains("no record"),
        "{document}"
    );
    assert!(document["help"].is_string(), "{document}");
    let wrong = shop.run(&["--json", "unknown"]).await;
    assert_eq!(
        (wrong.code, &error(&wrong)["exit_code"]),
        (Some(2), &json!(2))
    );
    let cut = shop
        .run(&["--json", "keys", "cli::user", "--limit", "1"])
        .await;
    assert_eq!(cut.documents()[1], json!({"more": true}), "{cut:?}");
    let whole = shop.run(&["--json", "keys", "cli::user"]).await;
    assert_eq!(whole.documents().len(), 2, "{whole:?}");
    shop.instance.runtime.invalidate_all().await.unwrap();
    let stale = shop.run(&["--json", "get", "cli::user", "42"]).await;
    assert!(
        error(&stale)["note"]
            .as_str()
            .unwrap()
            .contains("other history"),
        "{stale:?}"
    );
}

#[tokio::test]
async fn question_is_a_document_of_its_own_if_the_output_is_json() {
    let shop = Shop::with_users(&[42]).await;
    let run = shop.run(&["--json", "invalidate", "cli::user", "42"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    let lines: Vec<Value> = run
        .errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {run:?}")))
        .collect();
    assert!(
        lines[0]["note"].as_str().unwrap().contains("(yes/no)"),
        "{run:?}"
    );
    assert!(
        lines[1]["error"]
            .as_str()
            .unwrap()
            .contains("not confirmed"),
        "{run:?}"
    );
}

#[tokio::test]
async fn list_of_functions_that_is_cut_says_so() {
    let shop = Shop::with_users(&[42]).await;
    let _: () = shop.server.command(&["SET", "{cache:0}:other:1:x", "x"]);
    let run = shop.run(&["keys", "--limit", "1"]).await;
    assert_eq!(run.output.lines().count(), 1, "{run:?}");
    assert!(
        run.errors.contains("there are more functions; help: "),
        "{run:?}"
    );
}

#[tokio::test]
async fn errors_name_the_option_and_the_address() {
    let wrong = run(&["keys", "--redis", "http://a"]).await;
    assert!(wrong.errors.contains("(set by `--redis`)"), "{wrong:?}");
    let by_variable = finish({
        let mut command = program::command(&["keys"]);
        command.env("MULTI_TIER_CACHED_REDIS_URL", "http://a");
        command
    });
    let by_variable = by_variable.await;
    assert!(
        by_variable
            .errors
            .contains("(set by MULTI_TIER_CACHED_REDIS_URL)"),
        "{by_variable:?}"
    );
    for (option, rest) in [
        ("--redis", &[][..]),
        ("--cluster", &[]),
        ("--sentinels", &["--sentinel-master", "main"]),
    ] {
        let address = match option {
            "--redis" => "redis://127.0.0.1:1",
            _ => "127.0.0.1:1",
        };
        let run = run(&[&["keys", option, address], rest].concat()).await;
        assert_eq!(run.code, Some(3), "{run:?}");
        assert!(run.errors.contains("127.0.0.1:1"), "{run:?}");
        assert!(run.errors.contains(&format!("(`{option}`, or")), "{run:?}");
    }
}

#[tokio::test]
async fn answer_that_is_no_text_is_no_yes() {
    let shop = Shop::with_users(&[42]).await;
    let url = shop.server.url();
    let mut command = program::command(&["invalidate", "cli::user", "42", "--redis", &url]);
    command.stdin(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(b"\xff\n")
        .await
        .unwrap();
    let output = child.wait_with_output().await.unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("not confirmed"), "{errors}");
    assert_eq!(output.status.code(), Some(1));
}
