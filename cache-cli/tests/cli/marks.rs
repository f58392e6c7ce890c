//! Records of functions with tags and windows: what `explain` and `get` say of their marks.

use std::process::Stdio;

use multi_tier_cached::{expire, invalidate, multi_tier_cached};
use serde_json::{Value, json};
use testbed::until;

use crate::data::{Shop, offer, page};
use crate::program;

#[multi_tier_cached(ttl = "1h", name = "cli::absent", tags = ["page:{id}"], none_ttl = "1h")]
async fn absent(id: u64) -> Option<u64> {
    (id == 0).then_some(id)
}

/// Calls `page` and `offer`, and waits for the records.
async fn shop() -> Shop {
    let shop = Shop::open().await;
    shop.instance.call(page(1)).await;
    shop.instance.call(offer(1)).await;
    shop.server.until_records(2).await;
    shop
}

/// The document that `explain` prints.
async fn explained(shop: &Shop, function: &str) -> Value {
    let run = shop.run(&["explain", function, "1", "--json"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    run.documents().remove(0)
}

/// Asserts what the marks of a record are judged to be, and that `get` says the same.
#[track_caller]
fn is_judged(document: &Value, state: &str, reason: &str) {
    let found = (&document["redis"]["state"], &document["marks"]["reason"]);
    assert_eq!(found, (&json!(state), &json!(reason)), "{document}");
    assert_eq!(
        document["redis"]["header"]["marks"], document["marks"],
        "{document}"
    );
}

#[tokio::test]
async fn valid_record_shows_its_tags_and_the_mark_of_its_load() {
    let shop = shop().await;
    let document = explained(&shop, "cli::page").await;
    is_judged(&document, "good", "no entry");
    let marks = &document["marks"];
    assert_eq!(
        (&marks["tags"], &marks["mark"]["number"]),
        (&1.into(), &0.into()),
        "{marks}"
    );
    assert_eq!(
        marks["mark"]["base"], marks["ledger"]["base"],
        "the ledger of the load"
    );
    let run = shop
        .run(&["get", "cli::page", "1", "--header", "--json"])
        .await;
    assert_eq!(run.documents()[0]["header"]["marks"], *marks, "{run:?}");
    assert_eq!(run.errors, "");
    let text = shop.run(&["explain", "cli::page", "1"]).await.output;
    for part in [
        "marks      a tag, with the digest ",
        "loaded after entry 0 of the ledger ",
        "is at entry 0 now",
        "nothing of it was invalidated",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let document = explained(&shop, "cli::offer").await;
    is_judged(&document, "good", "no entry");
    assert_eq!(document["marks"]["tags"], 0);
}

#[tokio::test]
async fn record_that_a_tag_invalidated_is_still_there_and_the_entry_is_named() {
    let shop = shop().await;
    let call = async {
        invalidate!(tag "page:2").await?;
        invalidate!(tag "page:1").await
    };
    shop.instance.call(call).await.unwrap();
    let document = explained(&shop, "cli::page").await;
    is_judged(&document, "tag invalidated", "tag invalidated");
    let (marks, header) = (&document["marks"], &document["redis"]["header"]);
    assert_eq!(
        (&marks["tag"], &marks["entry"], &marks["ledger"]["last"]),
        (&header["tags"][0], &2.into(), &2.into()),
        "{document}"
    );
    // The audit says who did it, and not what was done to other tags.
    let what = format!("tags {}", marks["tag"].as_str().unwrap());
    let audit = document["audit"].as_array().unwrap();
    assert_eq!(audit.len(), 1, "{document}");
    assert_eq!(
        (&audit[0]["what"], &audit[0]["who"]),
        (&json!(what), &"shop-1".into()),
        "{document}"
    );
    let run = shop.run(&["get", "cli::page", "1"]).await;
    assert!(
        run.errors
            .contains("entry 2 of the ledger invalidated its tag"),
        "{run:?}"
    );
    // Both notes are documents if the output is, and need no reader.
    let run = shop.run(&["--json", "get", "cli::page", "1"]).await;
    let notes: Vec<Value> = run
        .errors
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {run:?}")))
        .collect();
    assert_eq!(notes.len(), 2, "{run:?}");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let url = shop.server.url();
    let mut command = program::command(&["get", "cli::page", "1", "--redis", &url]);
    let status = command.stderr(writer).stdout(Stdio::null()).status().await;
    assert_eq!(status.unwrap().code(), Some(0));
}

#[tokio::test]
async fn expiry_names_the_tag_the_key_or_the_function() {
    let shop = shop().await;
    let expiry = async { expire!(tag "page:1").await };
    shop.instance.call(expiry).await.unwrap();
    let document = explained(&shop, "cli::page").await;
    is_judged(&document, "expired", "tag expired");
    let run = shop.run(&["get", "cli::page", "1"]).await;
    assert!(run.errors.contains("expired its tag"), "{run:?}");
    let expiry = async { expire!(offer).await };
    shop.instance.call(expiry).await.unwrap();
    is_judged(
        &explained(&shop, "cli::offer").await,
        "expired",
        "function expired",
    );
    let expiry = async { expire!(offer, 1).await };
    shop.instance.call(expiry).await.unwrap();
    is_judged(
        &explained(&shop, "cli::offer").await,
        "expired",
        "key expired",
    );
}

#[tokio::test]
async fn lost_ledger_is_named_and_so_is_one_that_was_begun_again() {
    let shop = shop().await;
    let _: u64 = shop.server.command(&["DEL", "{cache:0}:#ledger"]);
    let document = explained(&shop, "cli::page").await;
    is_judged(&document, "tag invalidated", "no ledger");
    assert_eq!(document["marks"]["ledger"], Value::Null);
    // Without tags, it cannot have been invalidated by one.
    is_judged(
        &explained(&shop, "cli::offer").await,
        "expired",
        "no ledger",
    );
    let run = shop.run(&["get", "cli::page", "1"]).await;
    assert!(run.errors.contains("the server has no ledger"), "{run:?}");
    // No caller expired it.
    let text = shop.run(&["explain", "cli::offer", "1"]).await.output;
    assert!(text.contains("or the ledger of expiries does"), "{text}");
    let call = async { invalidate!(tag "page:2").await };
    shop.instance.call(call).await.unwrap();
    let document = explained(&shop, "cli::page").await;
    is_judged(&document, "tag invalidated", "other ledger");
}

/// A load that found no value has tags too.
#[tokio::test]
async fn record_without_a_value_is_judged_by_its_tags() {
    let shop = Shop::open().await;
    shop.instance.call(absent(1)).await;
    shop.server.until_records(1).await;
    is_judged(
        &explained(&shop, "cli::absent").await,
        "no value",
        "no entry",
    );
    let call = async { invalidate!(tag "page:1").await };
    shop.instance.call(call).await.unwrap();
    let document = explained(&shop, "cli::absent").await;
    is_judged(&document, "tag invalidated", "tag invalidated");
}

/// Builds with and without tags work together during a deploy.
#[tokio::test]
async fn record_of_a_build_with_other_marks_answers_no_call() {
    let shop = Shop::with_users(&[1]).await;
    shop.instance.call(page(1)).await;
    shop.server.until_records(2).await;
    let field = |name: &str| -> Option<String> {
        shop.server
            .command(&["HGET", "{cache:0}:#functions", &format!("{name}:1")])
    };
    let publish = |name: &str, is_marked: bool| {
        let mut function: Value = serde_json::from_str(&field(name).unwrap()).unwrap();
        function["is_marked"] = is_marked.into();
        let _: u64 = shop.server.command(&[
            "HSET",
            "{cache:0}:#functions",
            &format!("{name}:1"),
            &function.to_string(),
        ]);
    };
    // The instance publishes a function again when its fingerprint is known.
    until("both functions are published", || {
        let is_complete =
            |name| field(name).is_some_and(|text| !text.contains("\"fingerprint\":null"));
        is_complete("cli::user") && is_complete("cli::page")
    })
    .await;
    publish("cli::user", true);
    let document = explained(&shop, "cli::user").await;
    assert_eq!(document["redis"]["state"], "unmarked", "{document}");
    publish("cli::page", false);
    let run = shop.run(&["explain", "cli::page", "1", "--json"]).await;
    assert_eq!(run.documents()[0]["redis"]["state"], "mismatch", "{run:?}");
    assert_eq!(run.code, Some(1), "{run:?}");
}
