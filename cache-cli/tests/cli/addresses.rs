//! Functions and keys are found as `keys` lists them, and as the shell leaves them.

use std::time::Duration;

use multi_tier_cached::{Redis, invalidate, multi_tier_cached};
use testbed::{Gate, Instance};

use crate::data::{Shop, score};
use crate::program::{self, Run};

#[multi_tier_cached(ttl = "1h", name = "cli::text")]
async fn text(of: &str) -> usize {
    of.len()
}

#[multi_tier_cached(ttl = "1h", name = "cli::signed")]
async fn signed(of: i32) -> i32 {
    of
}

#[multi_tier_cached(ttl = "1h", name = "cli::nothing")]
async fn nothing() -> u64 {
    9
}

#[multi_tier_cached(ttl = "1h", name = "cli::gated_i32", skip(gate))]
async fn gated_i32(gate: &Gate, _key: i32) -> u64 {
    gate.pass().await
}

#[multi_tier_cached(ttl = "1h", name = "cli::large")]
async fn large() -> String {
    "x".repeat(65 << 20)
}

#[track_caller]
fn is(run: &Run, code: i32, part: &str) {
    assert_eq!(run.code, Some(code), "{run:?}");
    let all = format!("{}{}", run.output, run.errors);
    assert!(all.contains(part), "{part} is not in {run:?}");
}

#[tokio::test]
async fn arguments_are_found_without_the_quotes_that_the_shell_removes() {
    let shop = Shop::open().await;
    for of in ["42", "a b"] {
        shop.instance.call(text(of)).await;
    }
    shop.server.until_records(2).await;
    for key in ["42", "'42'", "a b", "a%20b", "'a%20b'"] {
        is(&shop.run(&["get", "cli::text", key, "--raw"]).await, 0, "");
    }
    let run = shop.run(&["invalidate", "cli::text", "42", "--yes"]).await;
    is(&run, 0, "invalidated the key `cli::text:1:'42'`");
    assert_eq!(shop.server.records(), ["{cache:0}:cli::text:1:'a%20b'"]);
    let run = shop.run(&["invalidate", "cli::text", "43", "--yes"]).await;
    is(&run, 0, "no record had such a key");
}

#[tokio::test]
async fn negative_numbers_and_functions_without_arguments_are_found() {
    let shop = Shop::open().await;
    shop.instance.call(signed(-5)).await;
    shop.instance.call(nothing()).await;
    shop.server.until_records(2).await;
    for key in ["-5i32", "-5"] {
        let run = shop.run(&["get", "cli::signed", key, "--json"]).await;
        is(&run, 0, "cli::signed:1:-5i32");
    }
    is(
        &shop.run(&["get", "cli::nothing", "--json"]).await,
        0,
        "cli::nothing:1:",
    );
    let run = shop.run(&["invalidate", "cli::signed", "--dryrun"]).await;
    is(&run, 2, "`--dryrun` is no option");
}

#[tokio::test]
async fn functions_are_found_by_the_escaped_names_that_are_listed() {
    let shop = Shop::with_users(&[42]).await;
    let listed = "f<(u8,%20u8)>:1";
    let epoch = format!("{{cache:0}}:{listed}#epoch");
    let _: () = shop.server.command(&["SET", &epoch, "5"]);
    let record = format!("{{cache:0}}:{listed}:42");
    let _: u64 = shop.server.command(&["COPY", &Shop::record(42), &record]);
    is(&shop.run(&["keys"]).await, 0, listed);
    for name in [listed, "f<(u8,%20u8)>", "f<(u8, u8)>:1", "f<(u8, u8)>"] {
        let run = shop.run(&["keys", name]).await;
        assert_eq!(
            (run.code, &*run.output),
            (Some(0), "42\n"),
            "{name}: {run:?}"
        );
    }
    is(&shop.run(&["invalidate", listed, "--yes"]).await, 0, listed);
    assert_ne!(shop.server.command::<String>(&["GET", &epoch]), "5");
}

#[tokio::test]
async fn function_that_no_instance_has_is_not_reported_as_invalidated() {
    let shop = Shop::with_users(&[42]).await;
    let before = shop.server.keys().len();
    for arguments in [
        &["cli::usr:1"][..],
        &["cli::usr:1", "42"],
        &["cli::usr:1", "--matching", "*"],
    ] {
        let run = shop
            .run(&[&["invalidate", "--yes"], arguments].concat())
            .await;
        is(&run, 1, "nothing of the function `cli::usr:1` is stored");
    }
    let run = shop
        .run(&["invalidate", "--all", "--yes", "--namespace", "shop"])
        .await;
    is(&run, 1, "the namespace `shop` has no history");
    assert_eq!(shop.server.keys().len(), before, "nothing was written");
    let run = shop
        .run(&["invalidate", "cli::user:1", "--yes", "--json"])
        .await;
    assert_eq!(run.documents()[0]["listeners"], 1, "{run:?}");
    drop(shop.instance);
    let url = shop.server.url();
    let run = program::run(&["invalidate", "cli::user:1", "--yes", "--redis", &url]).await;
    is(&run, 0, "; no instance listens");
}

#[tokio::test]
async fn lease_and_audit_of_a_number_are_found_without_its_type() {
    static GATE: Gate = Gate::new();
    let shop = Shop::open().await;
    let load = shop.instance.spawn(gated_i32(&GATE, 7));
    GATE.until_entered(1).await;
    let run = shop
        .run(&["explain", "cli::gated_i32", "7", "--json"])
        .await;
    assert_eq!(run.documents()[0]["lease"]["kind"], "exclusive", "{run:?}");
    GATE.open();
    load.await.unwrap();
    shop.server.until_records(1).await;
    let invalidated = async { invalidate!(gated_i32, &GATE, 7).await };
    shop.instance.call(invalidated).await.unwrap();
    let run = shop.run(&["explain", "cli::gated_i32", "7"]).await;
    is(&run, 0, "shop-1: cli::gated_i32:1:7i32");
}

#[tokio::test]
async fn search_that_ends_early_and_several_keys_are_not_called_absent() {
    let shop = Shop::open().await;
    shop.instance.call(score(5, "ann")).await;
    shop.instance.call(signed(7)).await;
    shop.server.until_records(2).await;
    let fill = "for i = 1, 300000 do redis.call('SET', 'other' .. i, 1) end";
    let _: redis::Value = shop.server.command(&["EVAL", fill, "0"]);
    let run = shop.run(&["explain", "cli::score", "6,ann"]).await;
    is(&run, 0, "redis      absent as written: ");
    assert!(run.errors.contains("the search ended there"), "{run:?}");
    // Written as in the name of a key, nothing is searched.
    let run = shop.run(&["explain", "cli::score", "6i32,'ann'"]).await;
    is(&run, 0, "redis      absent: ");
    assert_eq!(run.errors, "");
    let run = shop.run(&["get", "cli::score", "6i32,'ann'"]).await;
    is(&run, 1, "no record");
    let run = shop.run(&["get", "cli::score", "6,ann"]).await;
    is(&run, 1, "the search ended there");
    for command in ["get", "explain"] {
        is(&shop.run(&[command, "cli::signed", "7"]).await, 0, "");
    }
    let one = "{cache:0}:cli::signed:1:7i32";
    let _: u64 = shop
        .server
        .command(&["COPY", one, "{cache:0}:cli::signed:1:7u8"]);
    for command in ["get", "explain", "invalidate"] {
        let run = shop.run(&[command, "cli::signed", "7"]).await;
        is(&run, 2, "several keys: 7i32, 7u8");
    }
}

#[tokio::test]
async fn record_of_more_than_64_mebibytes_is_read_to_its_end() {
    let server = testbed::server::Server::start();
    // A machine that is busy with tests takes its time to encode and send the value.
    let redis = Redis::new(server.url())
        .max_record_bytes(128 << 20)
        .time_limit(Duration::from_secs(20))
        .staleness_bound(Duration::from_secs(10))
        .lease_time(Duration::from_secs(60));
    let instance = Instance::with_redis(redis).await;
    instance.until_coherent().await;
    instance.call(large()).await;
    server.until_records(1).await;
    let url = server.url();
    let key = "{cache:0}:cli::large:1:";
    let run = program::run(&["explain", key, "--json", "--redis", &url]).await;
    assert_eq!(run.documents()[0]["redis"]["state"], "good", "{run:?}");
}
