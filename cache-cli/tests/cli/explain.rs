//! `explain`: each state of a record, lease, guards and audit.

use multi_tier_cached::{expire, invalidate};
use serde_json::Value;
use testbed::{Gate, until};

use crate::data::{Shop, gated, offer, page, user};

/// Returns the state of a record by `explain`, and the exit code.
async fn state(shop: &Shop, function: &str, key: &str) -> (String, Option<i32>) {
    let run = shop.run(&["explain", function, key, "--json"]).await;
    let documents = run.documents();
    let state = documents[0]["redis"]["state"].as_str().unwrap_or_default();
    (state.to_owned(), run.code)
}

/// Reads a record, and returns what puts it back.
fn saved(shop: &Shop, record: &str) -> impl Fn() {
    let bytes: Vec<u8> = shop.server.command(&["DUMP", record]);
    move || {
        let client = redis::Client::open(shop.server.url()).unwrap();
        let mut connection = client.get_connection().unwrap();
        let mut restore = redis::cmd("RESTORE");
        restore.arg(record).arg(60_000).arg(&bytes).arg("REPLACE");
        let _: () = restore.query(&mut connection).unwrap();
    }
}

#[tokio::test]
async fn record_is_judged_as_a_call_judges_it() {
    let shop = Shop::with_users(&[42]).await;
    let record = Shop::record(42);
    assert_eq!(
        state(&shop, "cli::user", "42").await,
        ("good".into(), Some(0))
    );
    assert_eq!(
        state(&shop, "cli::user", "43").await,
        ("absent".into(), Some(0))
    );
    let restore = saved(&shop, &record);

    let _: () = shop
        .server
        .command(&["COPY", &record, "{cache:0}:cli::user:2:42"]);
    assert_eq!(
        state(&shop, "cli::user:2", "42").await,
        ("mismatch".into(), Some(1))
    );

    let _: u64 = shop.server.command(&["APPEND", &record, "x"]);
    assert_eq!(
        state(&shop, "cli::user:1", "42").await,
        ("damaged".into(), Some(1))
    );

    shop.instance
        .call(async { invalidate!(user).await })
        .await
        .unwrap();
    restore();
    assert_eq!(
        state(&shop, "cli::user:1", "42").await,
        ("other epoch".into(), Some(0))
    );

    shop.instance.runtime.invalidate_all().await.unwrap();
    restore();
    assert_eq!(
        state(&shop, "cli::user:1", "42").await,
        ("other history".into(), Some(0))
    );
}

#[tokio::test]
async fn invalidated_tag_and_expiry_of_a_record_are_seen() {
    let shop = Shop::open().await;
    shop.instance.call(page(1)).await;
    shop.instance.call(offer(1)).await;
    shop.server.until_records(2).await;
    assert_eq!(state(&shop, "cli::page", "1").await.0, "good");
    assert_eq!(state(&shop, "cli::offer", "1").await.0, "good");
    let call = async {
        invalidate!(tag "page:1").await?;
        expire!(offer, 1).await
    };
    shop.instance.call(call).await.unwrap();
    assert_eq!(state(&shop, "cli::page", "1").await.0, "tag invalidated");
    assert_eq!(state(&shop, "cli::offer", "1").await.0, "expired");
}

#[tokio::test]
async fn lease_names_its_holder_and_its_end_is_seen() {
    static GATE: Gate = Gate::new();
    let shop = Shop::open().await;
    until("the instance publishes itself", || {
        shop.server
            .keys()
            .contains(&"{cache:0}:#instances".to_owned())
    })
    .await;
    let load = shop.instance.spawn(gated(&GATE, 7));
    GATE.until_entered(1).await;
    let run = shop.run(&["explain", "cli::gated", "7", "--json"]).await;
    let lease = run.documents()[0]["lease"].clone();
    assert_eq!(
        (&lease["kind"], &lease["holder"]),
        (&"exclusive".into(), &"shop-1".into()),
        "{run:?}"
    );
    GATE.open();
    load.await.unwrap();
    shop.server.until_records(1).await;
    let run = shop.run(&["explain", "cli::gated", "7", "--json"]).await;
    assert_eq!(run.documents()[0]["lease"], Value::Null, "{run:?}");
}

#[tokio::test]
async fn guards_and_the_last_invalidations_of_a_key_are_listed() {
    let shop = Shop::with_users(&[42, 43]).await;
    let guard = shop
        .instance
        .call(user::entry(42).write_guard())
        .await
        .unwrap();
    shop.instance
        .call(async { invalidate!(user, 43).await })
        .await
        .unwrap();
    let run = shop.run(&["explain", "cli::user", "42", "--json"]).await;
    let document = run.documents().remove(0);
    assert_eq!(
        document["guards"].as_array().unwrap().len(),
        1,
        "{document}"
    );
    let audit = document["audit"].as_array().unwrap().iter();
    let audit: Vec<_> = audit.map(|entry| &entry["what"]).collect();
    assert_eq!(audit, ["guarded cli::user:1:42"]);
    let text = shop.run(&["explain", "cli::user", "43"]).await.output;
    for part in [
        "cli::user:1:43",
        "absent: ",
        "lease",
        "guards     none",
        "shop-1: cli::user:1:43",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    drop(guard);
}
