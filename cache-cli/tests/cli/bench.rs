//! `bench`: what it prints, and that it leaves the server as it found it.

use std::collections::BTreeMap;
use std::time::Duration;

use multi_tier_cached::{Redis, multi_tier_cached};
use testbed::cluster::Cluster;
use testbed::network::Network;
use testbed::proxy::NetworkFault;
use testbed::sentinel::{PRIMARY, Sentinels};
use testbed::server::Server;
use testbed::{Instance, until};
use tokio::time::Instant;

use crate::program::{self, Run, Running};

/// The operations in the order in which they are shown, each with the bare command beside it.
const OPERATIONS: [(&str, Option<&str>); 7] = [
    ("PING", None),
    ("GET", None),
    ("hit", Some("GET")),
    ("lease", Some("PING")),
    ("fill", Some("GET")),
    ("invalidate", Some("PING")),
    ("barrier", Some("PING")),
];

#[multi_tier_cached(ttl = "1h", name = "cli::measured")]
async fn value(key: u64) -> u64 {
    key
}

/// Runs `bench` for a second with these options. A machine that is busy with tests answers some
/// operations late, so the time limit is long.
async fn bench(options: &[&str]) -> Run {
    let mut command = program::command(&[&["bench", "--seconds", "1"], options].concat());
    command.env("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", "5s");
    program::finish(command).await
}

/// Stores keys of several namespaces, which a run must not touch, and returns all keys with their
/// contents.
fn with_other_namespaces(server: &Server) -> BTreeMap<String, Vec<u8>> {
    for key in [
        "{cache:0}:users::get:1:42",
        "{cache:0}:bench:1:0",
        "{cache:bench:0}:bench:1:0",
        "{cache:bench-0000000000000000:0}:bench:1:0",
        "bench:1:0",
    ] {
        let _: String = server.command(&["SET", key, "a record"]);
    }
    contents(server)
}

fn contents(server: &Server) -> BTreeMap<String, Vec<u8>> {
    let keys = server.keys().into_iter();
    keys.map(|key| {
        let dump: Vec<u8> = server.command(&["DUMP", &key]);
        (key, dump)
    })
    .collect()
}

/// Returns the keys that a run has stored and not removed yet.
fn keys_of_a_run(server: &Server, purpose: &str) -> Vec<String> {
    let keys = server.keys().into_iter();
    let prefix = format!("{{cache:{purpose}-");
    keys.filter(|key| key.starts_with(&prefix) && !key.contains("-0000000000000000:"))
        .collect()
}

#[tokio::test]
async fn table_has_each_operation_beside_a_bare_command_and_says_what_it_means() {
    let server = Server::start();
    let url = server.url();
    let run = bench(&["--redis", &url, "--callers", "3"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let rows: Vec<Vec<&str>> = run
        .output
        .lines()
        .map(|line| line.split_whitespace().collect())
        .collect();
    for (name, peer) in OPERATIONS {
        let of = |row: &&Vec<&str>| row.first() == Some(&name);
        let [row, meaning] = rows.iter().filter(of).collect::<Vec<_>>()[..] else {
            panic!("not two lines of {name}: {}", run.output);
        };
        let numbers = row[1..5].iter().map(|number| number.parse::<f64>());
        let numbers: Vec<f64> = numbers.map(Result::unwrap).collect();
        assert!(numbers[0] > 0.0 && numbers[..3].is_sorted(), "{row:?}");
        assert!(numbers[3] > 0.0, "{row:?}");
        let ratio = peer.map_or_else(|| row[5].to_owned(), |_| row[6..8].join(" "));
        let expected = peer.map_or_else(|| "1.00".to_owned(), |peer| format!("x {peer}"));
        assert_eq!(ratio, expected, "{row:?}");
        assert!(meaning.len() > 3, "{meaning:?}");
    }
    for text in [
        "3 callers, 1 s, values of 200 bytes",
        "round trip",
        "time limit 5s",
    ] {
        assert!(run.output.contains(text), "{text} is not in {run:?}");
    }
}

#[tokio::test]
async fn document_has_every_operation_with_its_figures() {
    let server = Server::start();
    let url = server.url();
    let run = bench(&["--redis", &url, "--json", "--value-bytes", "5000"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let documents = run.documents();
    let [document] = &documents[..] else {
        panic!("not one document: {run:?}");
    };
    assert_eq!(document["value_bytes"], 5000);
    assert_eq!(document["time_limit_ms"], 5000.0);
    assert_eq!(document["is_interrupted"], false);
    let namespace = document["namespace"].as_str().unwrap();
    assert!(namespace.starts_with("cache:bench-"), "{namespace}");
    let operations = document["operations"].as_array().unwrap();
    assert_eq!(operations.len(), OPERATIONS.len());
    for (operation, (name, peer)) in operations.iter().zip(OPERATIONS) {
        let number = |field: &str| operation[field].as_f64().unwrap();
        assert_eq!(operation["operation"], name);
        assert_eq!(operation["peer"].as_str(), peer);
        assert_eq!(operation["ratio"].is_number(), peer.is_some());
        assert_eq!(operation["failed"], 0, "{operation}");
        let is_ordered = 0.0 < number("p50_ms")
            && number("p50_ms") <= number("p99_ms")
            && number("p99_ms") <= number("max_ms");
        assert!(is_ordered, "{operation}");
        assert!(
            number("count") > 0.0 && number("per_second") > 0.0,
            "{operation}"
        );
        let part = number("p99_ms") / 5000.0;
        assert!(
            (number("p99_of_time_limit") - part).abs() < 1e-6,
            "{operation}"
        );
    }
}

#[tokio::test]
async fn nothing_is_left_after_a_run_and_other_namespaces_are_untouched() {
    let server = Server::start();
    let before = with_other_namespaces(&server);
    let url = server.url();
    let run = bench(&["--redis", &url, "--callers", "20"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(contents(&server), before);
    // An error after the connection, and one before it.
    let run = bench(&["--redis", &url, "--value-bytes", "1048576"]).await;
    assert_eq!(run.code, Some(2), "{run:?}");
    assert!(
        run.errors.contains("use `--value-bytes 1048492`"),
        "{run:?}"
    );
    assert_eq!(contents(&server), before);
    let run = bench(&["--redis", "redis://127.0.0.1:1"]).await;
    assert_eq!(run.code, Some(3), "{run:?}");
}

#[tokio::test]
async fn nothing_is_left_after_a_signal() {
    let server = Server::start();
    let before = with_other_namespaces(&server);
    let url = server.url();
    for signal in ["-INT", "-TERM"] {
        let running = Running::start(&["bench", "--seconds", "600", "--redis", &url]);
        until("records of the run are in the server", || {
            let keys = keys_of_a_run(&server, "bench");
            keys.iter().any(|key| key.contains(":bench:1:"))
        })
        .await;
        running.signal(signal);
        let run = running.finish().await;
        assert_eq!(run.code, Some(0), "{run:?}");
        assert!(run.output.contains("interrupted"), "{run:?}");
        assert_eq!(contents(&server), before, "after {signal}");
    }
    let replay = ["replay", "--tiers", "l1,l2", "--redis", &url];
    let running = Running::start(&replay);
    until("records of the run are in the server", || {
        let keys = keys_of_a_run(&server, "replay");
        keys.iter().any(|key| key.contains(":replay::object:1:"))
    })
    .await;
    running.signal("-INT");
    let run = running.finish().await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert!(run.output.contains("interrupted"), "{run:?}");
    assert!(run.output.contains("wrong values: 0"), "{run:?}");
    assert_eq!(contents(&server), before);
}

/// Each operation waits for the network, so that the run is longer than a second, but not much.
#[tokio::test]
async fn server_that_is_far_away_is_called_so_and_slow_operations_are_named() {
    let server = Server::start();
    let network = Network::to(server.port()).await;
    network.set(NetworkFault::Delay(Duration::from_millis(40)));
    let url = &network.urls()[0];
    let began = Instant::now();
    let mut command = program::command(&["bench", "--seconds", "1", "--redis", url]);
    command.env("MULTI_TIER_CACHED_REDIS_TIME_LIMIT", "300ms");
    command.env("MULTI_TIER_CACHED_REDIS_STALENESS_BOUND", "5s");
    let run = program::finish(command).await;
    assert!(run.output.contains(": the server is far away"), "{run:?}");
    for name in ["PING", "hit", "invalidate"] {
        let line = format!("1 of 100 of {name} takes more than a quarter of the time limit");
        assert!(run.output.contains(&line), "{line} is not in {run:?}");
    }
    assert!(began.elapsed() < Duration::from_secs(15));
    assert_eq!(server.keys(), [""; 0]);
}

#[tokio::test]
async fn server_that_answers_no_more_ends_the_run() {
    let server = Server::start();
    let network = Network::to(server.port()).await;
    let url = &network.urls()[0];
    let running = Running::start(&["bench", "--seconds", "600", "--redis", url]);
    until("the run has begun", || {
        !keys_of_a_run(&server, "bench").is_empty()
    })
    .await;
    network.set(NetworkFault::BlackHole);
    let run = running.finish().await;
    assert_eq!(run.code, Some(3), "{run:?}");
}

#[tokio::test]
async fn lost_server_ends_the_run_with_the_code_of_an_unreachable_one() {
    let mut server = Server::start();
    let url = server.url();
    let running = Running::start(&["bench", "--seconds", "600", "--redis", &url]);
    until("the run has begun", || {
        !keys_of_a_run(&server, "bench").is_empty()
    })
    .await;
    server.kill();
    let run = running.finish().await;
    assert_eq!(run.code, Some(3), "{run:?}");
    let pattern = "some keys `{cache:bench-";
    assert!(
        run.errors.contains(pattern),
        "names what may be left: {run:?}"
    );
}

#[tokio::test]
async fn shards_of_a_cluster_are_measured_and_left_as_they_were() {
    let cluster = Cluster::start(3).await;
    let instance = Instance::with_redis(Redis::cluster(cluster.urls()).shards(4)).await;
    instance.until_coherent().await;
    for key in 0..10 {
        instance.call(value(key)).await;
    }
    let records = || {
        let nodes = cluster.nodes().iter().take(3);
        let mut records: Vec<String> = nodes.flat_map(Server::records).collect();
        records.sort();
        records
    };
    until("the records are there", || records().len() == 10).await;
    let before = records();
    let seeds = cluster.urls().join(",");
    let run = bench(&["--cluster", &seeds, "--json", "--callers", "4"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    let document = &run.documents()[0];
    let operations = document["operations"].as_array().unwrap();
    let is_whole = operations
        .iter()
        .all(|of| of["failed"] == 0 && of["count"] != 0);
    assert!(
        is_whole && operations.len() == OPERATIONS.len(),
        "{document}"
    );
    assert_eq!(
        document["servers"].as_array().unwrap().len(),
        3,
        "{document}"
    );
    assert_eq!(records(), before);
    for node in cluster.nodes().iter().take(3) {
        assert_eq!(keys_of_a_run(node, "bench"), [""; 0]);
    }
    let of_one_slot = bench(&["--redis", &cluster.node(0).url()]).await;
    assert_eq!(of_one_slot.code, Some(0), "{of_one_slot:?}");
}

#[tokio::test]
async fn primary_behind_sentinels_is_measured_and_left_as_it_was() {
    let sentinels = Sentinels::start_with(&testbed::sentinel::Options::new()).await;
    let addresses = sentinels.addresses().join(",");
    let options = ["--sentinels", &addresses, "--sentinel-master", PRIMARY];
    let run = bench(&options).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    assert_eq!(sentinels.server(0).keys(), [""; 0]);
}
