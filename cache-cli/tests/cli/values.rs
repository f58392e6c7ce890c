//! `keys` and `get`.

use serde_json::{Value, json};

use crate::data::{Shop, score, user_of};
use crate::program;

#[tokio::test]
async fn keys_lists_functions_and_the_keys_that_match() {
    let shop = Shop::with_users(&[7, 42, 421]).await;
    shop.instance.call(score(-3, "a*b")).await;
    shop.server.until_records(4).await;
    let functions = shop.run(&["keys"]).await;
    assert_eq!(
        functions.output,
        "        1  cli::score:1\n        3  cli::user:1\n"
    );
    let of = async |arguments: &[&str]| {
        let run = shop.run(arguments).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        let mut keys: Vec<String> = run.output.lines().map(str::to_owned).collect();
        keys.sort();
        (keys, run.errors)
    };
    assert_eq!(of(&["keys", "cli::user"]).await.0, ["42", "421", "7"]);
    assert_eq!(of(&["keys", "cli::user:1", "42*"]).await.0, ["42", "421"]);
    assert_eq!(of(&["keys", "cli::user", "8*"]).await.0, [""; 0]);
    assert_eq!(of(&["keys", "cli::score"]).await.0, ["-3i32,'a%2Ab'"]);
    let (limited, errors) = of(&["keys", "cli::user", "--limit", "2"]).await;
    assert!(
        limited.len() == 2 && errors.contains("--limit"),
        "{limited:?} {errors}"
    );
    let run = shop.run(&["keys", "cli::user", "7", "--json"]).await;
    let key = json!({"function": "cli::user:1", "arguments": "7", "key": Shop::record(7)});
    assert_eq!(run.documents(), [key]);
    let run = shop.run(&["keys", "cli::unknown"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.errors.contains("`cli::unknown`") && run.errors.contains("help"),
        "{run:?}"
    );
}

#[tokio::test]
async fn get_shows_the_value_as_the_program_would_write_it_as_json() {
    let shop = Shop::with_users(&[42, 43, 44]).await;
    shop.until_published().await;
    for id in [42, 43, 44] {
        let expected = serde_json::to_value(user_of(id)).unwrap();
        let id = id.to_string();
        let run = shop.run(&["get", "cli::user", &id]).await;
        assert_eq!(run.code, Some(0), "{run:?}");
        let shown: Value = serde_json::from_str(&run.output).unwrap();
        assert_eq!(shown, expected);
        assert!(
            !run.output.contains(['\u{1b}', '\u{9b}']),
            "no control character is printed"
        );
        let run = shop
            .run(&["get", "cli::user", &id, "--json", "--header"])
            .await;
        let document = run.documents().remove(0);
        assert_eq!(document["value"], expected);
        assert_eq!(document["state"], "good");
        assert_eq!(document["header"]["codec"], "postcard");
    }
    let by_key = shop.run(&["get", &Shop::record(42)]).await;
    let by_name = shop.run(&["get", "cli::user:1", "42"]).await;
    assert_eq!(by_key.output, by_name.output);
}

#[tokio::test]
async fn get_finds_numbers_without_their_types_and_writes_raw_bytes() {
    let shop = Shop::open().await;
    shop.instance.call(score(5, "ann")).await;
    shop.server.until_records(1).await;
    let raw = shop.run(&["get", "cli::score", "5,ann", "--raw"]).await;
    assert_eq!(raw.output, "\u{f}", "15 as postcard writes it: {raw:?}");
    let run = shop.run(&["get", "cli::score", "301,ann"]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(
        run.errors.contains("no record of `cli::score:1:301,ann`"),
        "{run:?}"
    );
}

#[tokio::test]
async fn value_whose_layout_is_not_known_is_shown_as_bytes() {
    let shop = Shop::open().await;
    shop.instance.call(score(5, "ann")).await;
    shop.server.until_records(1).await;
    let _: redis::Value = shop.server.command(&["DEL", "{cache:0}:#shapes"]);
    let run = shop.run(&["get", "cli::score", "5,ann"]).await;
    assert_eq!((run.code, &*run.output), (Some(0), "0f\n"), "{run:?}");
    assert!(run.errors.contains("shown as bytes"), "{run:?}");
}

/// A version that is not known yet may publish more, and an older one publishes less.
#[tokio::test]
async fn publications_of_other_versions_are_read_as_far_as_they_are_known() {
    let shop = Shop::with_users(&[42]).await;
    let fixtures = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures");
    let fixture = |name: &str| std::fs::read_to_string(format!("{fixtures}/{name}")).unwrap();
    let set = |key: &str, field: &str, text: &str| {
        let _: redis::Value = shop.server.command(&["HSET", key, field, text]);
    };
    set(
        "{cache:0}:#functions",
        "old::price:1",
        &fixture("function-older.json"),
    );
    set(
        "{cache:0}:#functions",
        "new::price:1",
        &fixture("function-newer.json"),
    );
    set("{cache:0}:#functions", "broken:1", "{");
    let now = shop.server.command::<Vec<u64>>(&["TIME"])[0] * 1000;
    for name in ["instance-older.json", "instance-newer.json"] {
        let id = name.trim_end_matches(".json");
        let key = format!("{{cache:0}}:#instance:{id}");
        let _: redis::Value = shop
            .server
            .command(&["SET", &key, &fixture(name), "PX", "60000"]);
        let _: redis::Value =
            shop.server
                .command(&["ZADD", "{cache:0}:#instances", &now.to_string(), id]);
    }
    let run = shop.run(&["top", "--json"]).await;
    let names: Vec<Value> = run
        .documents()
        .iter()
        .map(|of| of["name"].clone())
        .collect();
    for name in ["older", "newer"] {
        assert!(names.contains(&name.into()), "{name} is not in {names:?}");
    }
    let top = shop.run(&["top", "--once"]).await;
    assert!(
        top.output.contains("old::price") && top.output.contains("new::price"),
        "{top:?}"
    );
    let report = shop.run(&["doctor", "--json"]).await;
    assert!(
        report
            .documents()
            .iter()
            .any(|line| line["check"] == "versions" && line["state"] == "warn"),
        "{report:?}"
    );
    // The older instance publishes no settings of its functions.
    let not_known: Vec<String> = report
        .documents()
        .iter()
        .filter(|line| line["check"] == "functions" && line["state"] == "not known")
        .map(|line| line["what"].to_string())
        .collect();
    assert!(
        not_known.len() == 1 && not_known[0].contains("older"),
        "{report:?}"
    );
    // Functions without calls can be named without their version.
    let run = shop.run(&["keys", "new::price"]).await;
    assert_eq!((run.code, &*run.output), (Some(0), ""), "{run:?}");
}

/// The epoch was evicted, or another program wrote the record.
#[tokio::test]
async fn function_of_which_only_a_record_is_there_is_found() {
    let server = testbed::server::Server::start();
    let url = server.url();
    for version in [77, 78] {
        let key = format!("{{cache:0}}:theirs::price:{version}:1");
        let _: () = server.command(&["SET", &key, "x", "EX", "60"]);
        let run = program::run(&["explain", "theirs::price", "1", "--redis", &url]).await;
        let (code, part) = match version {
            77 => (1, "damaged: "),
            _ => (2, "has the versions 77, 78"),
        };
        let all = format!("{}{}", run.output, run.errors);
        assert!(run.code == Some(code) && all.contains(part), "{run:?}");
    }
    let run = program::run(&["keys", "theirs::pric", "--redis", &url]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.errors.contains("nothing of the function"), "{run:?}");
}
