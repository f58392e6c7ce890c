//! `replay`: ratios that are known exactly, traces that cannot be used, and the tiers.

use std::process::Stdio;

use serde_json::Value;
use testbed::server::Server;
use tokio::io::AsyncWriteExt;

use crate::program::{self, Run};

/// Accesses and distinct keys of [`trace`].
const ACCESSES: u64 = 3_000;
const KEYS: u64 = 700;

/// Returns a trace in which each key comes at least once, in an order without a pattern.
fn trace() -> String {
    let keys = (0..ACCESSES).map(|at| match at < KEYS {
        true => at,
        false => at * at % 701 % KEYS,
    });
    keys.map(|key| format!("key:{key} ü\n")).collect()
}

/// Replays a text from the standard input.
async fn replay(text: &[u8], options: &[&str]) -> Run {
    let mut command = program::command(&[&["replay", "-"], options].concat());
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    // A program that refuses its options does not read.
    let _ = input.write_all(text).await;
    drop(input);
    program::end(child).await
}

/// Returns the only document of a run that has found nothing wrong.
#[track_caller]
fn document(run: &Run) -> Value {
    assert_eq!(run.code, Some(0), "{run:?}");
    let documents = run.documents();
    assert_eq!(documents.len(), 1, "{run:?}");
    documents[0].clone()
}

#[tokio::test]
async fn memory_with_room_for_all_keys_misses_each_key_once() {
    for engine in ["moka", "quick_cache"] {
        for callers in ["1", "4"] {
            let options = ["--engine", engine, "--callers", callers, "--json"];
            let run = replay(trace().as_bytes(), &options).await;
            let document = document(&run);
            let hits = document["tiers"][0]["hits"].as_u64().unwrap();
            let waits = document["waits"].as_u64().unwrap();
            assert_eq!(document["accesses"], ACCESSES);
            assert_eq!(document["distinct_keys"], KEYS);
            assert_eq!(document["loads"], KEYS, "{document}");
            assert_eq!(document["wrong_values"], 0);
            if callers == "1" {
                assert_eq!((hits, waits), (ACCESSES - KEYS, 0), "{document}");
                let alone = document["engine_alone_hit_ratio"].as_f64().unwrap();
                let ratio = document["tiers"][0]["hit_ratio"].as_f64().unwrap();
                assert_eq!(ratio, alone, "{document}");
            }
            let paths = document["paths"].as_array().unwrap();
            let calls: u64 = paths.iter().map(|of| of["calls"].as_u64().unwrap()).sum();
            assert_eq!(calls, ACCESSES);
        }
    }
}

#[tokio::test]
async fn table_shows_the_ratio_of_each_tier_and_the_latencies_of_each_path() {
    let run = replay(b"a\nb\na\na\n", &[]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    for text in [
        "distinct keys          2",
        "l1 hits                2  hit ratio 50.00 %, moka alone: 50.00 %",
        "loads                  2",
        "l1 hit                   2",
        "load                     2",
        "wrong values: 0",
    ] {
        assert!(run.output.contains(text), "{text} is not in {}", run.output);
    }
    assert!(!run.output.contains("l2"), "{run:?}");
}

#[tokio::test]
async fn redis_answers_what_a_small_memory_has_not_and_nothing_is_left() {
    let server = Server::start();
    let _: String = server.command(&["SET", "{cache:0}:replay::object:1:a", "a record"]);
    let url = server.url();
    let options = ["--entries", "50", "--redis", &url, "--json"];
    let run = replay(trace().as_bytes(), &options).await;
    let document = document(&run);
    let hits = |tier: usize| document["tiers"][tier]["hits"].as_u64().unwrap();
    assert_eq!(document["loads"], KEYS, "{document}");
    assert_eq!(hits(0) + hits(1), ACCESSES - KEYS, "{document}");
    assert!(hits(1) > 0, "{document}");
    assert_eq!(document["wrong_values"], 0);
    let left = server.keys();
    assert_eq!(
        left.first().map(String::as_str),
        Some("{cache:0}:replay::object:1:a")
    );
    assert_eq!(left.len(), 1, "such as {}", left[left.len() - 1]);
}

/// A variable may name a server in production.
#[tokio::test]
async fn server_that_only_the_environment_names_is_not_used_unless_its_tier_is_named() {
    let set = |arguments: &[&str]| {
        let mut command = program::command(arguments);
        command.env("MULTI_TIER_CACHED_REDIS_URL", "redis://127.0.0.1:1");
        command
    };
    let directory = testbed::directory::Directory::new("replay");
    let file = directory.path().join("trace");
    std::fs::write(&file, "a\nb\n").unwrap();
    let file = file.to_str().unwrap();
    let memory = program::finish(set(&["replay", file])).await;
    assert_eq!(memory.code, Some(0), "{memory:?}");
    let both = program::finish(set(&["replay", file, "--tiers", "l1,l2"])).await;
    assert_eq!(both.code, Some(3), "{both:?}");
}

#[tokio::test]
async fn trace_that_cannot_be_used_is_one_clear_error() {
    let wrong = async |run: Run, text: &str| {
        assert_eq!(run.code, Some(2), "{run:?}");
        assert_eq!(run.errors.lines().count(), 1, "{run:?}");
        assert!(run.errors.contains(text), "{text} is not in {run:?}");
        assert!(run.errors.contains("; help: "), "{run:?}");
        assert_eq!(run.output, "");
    };
    wrong(replay(b"", &[]).await, "the trace `-` is empty").await;
    let bytes = replay(b"a\n\xff\n", &[]).await;
    wrong(bytes, "line 2 of the trace `-` is not UTF-8").await;
    let missing = program::run(&["replay", "/no/such/trace"]).await;
    wrong(missing, "the trace `/no/such/trace` cannot be read").await;
    let directory = program::run(&["replay", "/"]).await;
    wrong(directory, "the trace `/` cannot be read").await;
}

#[tokio::test]
async fn tiers_and_numbers_that_make_no_sense_are_refused() {
    for (options, text) in [
        (&["--tiers", "l2"][..], "l1, which cannot be left out"),
        (&["--tiers", "l1,l9"], "invalid value 'l9'"),
        (&["--tiers", "l1,l2"], "no server is named"),
        (
            &["--tiers", "l1", "--redis", "redis://127.0.0.1:1"],
            "`--tiers` does not name l2",
        ),
        (&["--engine", "lru"], "invalid value 'lru'"),
        (&["--entries", "0"], "0 is not in 1.."),
        (&["--callers", "0"], "0 is not in 1..=1024"),
    ] {
        let run = replay(b"a\n", options).await;
        assert_eq!(run.code, Some(2), "{options:?}: {run:?}");
        assert!(run.errors.contains(text), "{options:?}: {run:?}");
    }
}
