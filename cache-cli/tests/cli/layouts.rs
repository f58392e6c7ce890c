//! `invalidate` and the histories of a namespace: a tool begins none, and reaches all shards.

use serde_json::json;
use testbed::server::Server;

use crate::data::Shop;
use crate::program::{self, Run};

const SHARDS: u8 = 8;

fn history(shard: u8) -> String {
    format!("{{cache:{shard}}}:#history")
}

/// Begins the histories of some of eight shards.
fn begin(server: &Server, shards: std::ops::Range<u8>) {
    for shard in shards {
        let _: () = server.command(&["SET", &history(shard), "5:run-replication#8"]);
    }
}

async fn invalidate(server: &Server, arguments: &[&str]) -> Run {
    let url = server.url();
    program::run(&[&["invalidate", "--yes", "--redis", &url], arguments].concat()).await
}

/// The user `part` of a server, with these rules.
fn url_of_part(server: &Server, rules: &[&str]) -> String {
    let set = ["ACL", "SETUSER", "part", "reset", "on", ">pw"];
    let _: () = server.command(&[&set, rules].concat());
    server.url().replace("redis://", "redis://part:pw@")
}

#[tokio::test]
async fn nothing_is_written_to_a_namespace_without_a_history() {
    let server = Server::start();
    for arguments in [&["--all"][..], &["users::get:1"], &["users::get:1", "42"]] {
        let run = invalidate(&server, arguments).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.errors.contains("has no history"), "{run:?}");
        assert!(run.output.is_empty(), "{run:?}");
    }
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn layout_is_that_of_other_shards_if_the_first_has_lost_its_history() {
    let server = Server::start();
    begin(&server, 1..SHARDS);
    let run = invalidate(&server, &["--all", "--json"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(
        run.documents()[0]["shards"],
        json!([0, 1, 2, 3, 4, 5, 6, 7])
    );
    let text = |shard| server.command::<Option<String>>(&["GET", &history(shard)]);
    assert_eq!(text(0), None, "a tool begins no history");
    for shard in 1..SHARDS {
        let text = text(shard).unwrap();
        assert!(text.ends_with("#8") && !text.starts_with("5:"), "{text}");
    }
}

#[tokio::test]
async fn histories_of_several_layouts_or_unreadable_ones_stop_an_invalidation() {
    let server = Server::start();
    begin(&server, 1..2);
    let _: () = server.command(&["SET", &history(9), "5:run-replication#16"]);
    let run = invalidate(&server, &["--all"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.errors.contains("8 shards, and shard 9 one of 16"),
        "{run:?}"
    );
    // Of the first shard too, and in a place that its layout does not have.
    for (shard, text, problem) in [
        (
            0,
            "5:run-replication",
            "shard 0 has a history of 1 shards, and shard 1 one of 8",
        ),
        (0, "5:run-replication#8", "8 shards, and shard 9 one of 16"),
        (
            9,
            "5:run-replication#8",
            "shard 9 has a history of 8 shards",
        ),
    ] {
        let _: () = server.command(&["SET", &history(shard), text]);
        let run = invalidate(&server, &["--all"]).await;
        assert_eq!(run.code, Some(1), "{run:?}");
        assert!(run.errors.contains(problem), "{run:?}");
        assert_eq!(server.command::<String>(&["GET", &history(shard)]), text);
    }
    let url = url_of_part(&server, &["+@all", "-getrange", "~*", "&*"]);
    let run = program::run(&["invalidate", "--all", "--yes", "--redis", &url]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.errors.contains("could not read the history"), "{run:?}");
    let text: String = server.command(&["GET", &history(1)]);
    assert_eq!(text, "5:run-replication#8", "nothing was invalidated");
}

#[tokio::test]
async fn shards_that_fail_are_named_beside_those_that_are_done() {
    let server = Server::start();
    begin(&server, 0..SHARDS);
    let url = url_of_part(&server, &["+@all", "~{cache:0}:*", "&*"]);
    let run = program::run(&["invalidate", "--all", "--yes", "--redis", &url]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.output.contains("in shard 0"), "{run:?}");
    for part in [
        "not invalidated in the shards 1, 2, 3, 4, 5, 6, 7 (",
        "NoPerm",
        "correct what the errors name, then run it again",
    ] {
        assert!(run.errors.contains(part), "{part} is not in {run:?}");
    }
    let arguments = ["invalidate", "--all", "--yes", "--json", "--redis", &url];
    let document = program::run(&arguments).await.documents().remove(0);
    assert_eq!(document["shards"], json!([0]));
    assert_eq!(
        document["failed"].as_object().unwrap().len(),
        7,
        "{document}"
    );
}

#[tokio::test]
async fn audit_has_an_entry_or_a_note_says_that_it_has_none() {
    let server = Server::start();
    let _: () = server.command(&["SET", &history(0), "5:run-replication"]);
    let audit = || server.command::<u64>(&["XLEN", "{cache:0}:#stream:#invalidations"]);
    let url = url_of_part(&server, &["+@all", "-xlen", "~*", "&*"]);
    let run = program::run(&["invalidate", "--all", "--yes", "--redis", &url]).await;
    assert_eq!(
        (run.code, &*run.errors, audit()),
        (Some(0), "", 1),
        "{run:?}"
    );
    let url = url_of_part(&server, &["+@all", "-xadd", "~*", "&*"]);
    let run = program::run(&["invalidate", "--all", "--yes", "--redis", &url]).await;
    assert_eq!((run.code, audit()), (Some(0), 1), "{run:?}");
    assert!(
        run.errors.contains("refuses the entry: NOPERM; help: ACL"),
        "{run:?}"
    );
}

#[tokio::test]
async fn entry_of_the_audit_that_a_full_server_refuses_is_no_missing_permission() {
    let shop = Shop::with_users(&[42]).await;
    let _: () = shop.server.command(&["CONFIG", "SET", "maxmemory", "1"]);
    let matching = ["invalidate", "--yes", "cli::user", "--matching", "*"];
    let run = shop.run(&matching).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.errors.contains("refuses the entry: OOM"), "{run:?}");
    assert!(!run.errors.contains("ACL"), "{run:?}");
}
