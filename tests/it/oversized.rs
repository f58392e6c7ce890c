//! A foreign value under a key of the cache costs no more than a record may, and is replaced.

use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{Level, Redis, TierStats, multi_tier_cached};
use tokio::task::JoinSet;
use tokio::time::Instant;

use testbed::server::Server;
use testbed::{Instance, Truth, assert_reads, assert_tier, until};

/// Length of the foreign string.
const LARGE: u64 = 256 << 20;
/// Most bytes that the server may send in a test: a few times the limit of a record, 1 MiB.
const MOST_SENT: u64 = 8 << 20;

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn bounded(truth: &Truth, key: u64) -> u64 {
    truth.read();
    key
}

#[multi_tier_cached(ttl = "1h", skip(truth))]
async fn other(truth: &Truth, key: u64) -> u64 {
    truth.read();
    key
}

/// An instance whose operations do not time out on a busy machine: an operation that timed out
/// would replace nothing.
async fn patient_instance(server: &Server) -> Instance {
    let redis = Redis::new(server.url()).time_limit(Duration::from_secs(10));
    Instance::with_redis(redis).await
}

/// Stores a string of [`LARGE`] bytes under `name`.
fn make_large(server: &Server, name: &str) {
    let _: u64 = server.command(&["SETRANGE", name, &(LARGE - 1).to_string(), "x"]);
}

fn length(server: &Server, name: &str) -> u64 {
    server.command(&["STRLEN", name])
}

/// Calls `other` for ten keys, ten times each, and returns the time that the slowest call took.
async fn traffic(instance: &Instance, truth: &Arc<Truth>) -> Duration {
    let mut calls = JoinSet::new();
    for call in 0..100 {
        let (instance, truth) = (instance.clone(), Arc::clone(truth));
        calls.spawn(async move {
            let began = Instant::now();
            let value = instance.call(other(&truth, call % 10)).await;
            assert_eq!(value, call % 10);
            began.elapsed()
        });
    }
    calls.join_all().await.into_iter().max().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_string_under_the_key_of_a_record_is_replaced_and_delays_no_call() {
    let server = Server::start();
    let here = patient_instance(&server).await;
    let (truth, of_others) = (Truth::new(), Arc::new(Truth::new()));
    // The first read of a function asks for its epoch too, and later ones for the record only.
    for key in [0, 1] {
        let name = format!("{{cache:0}}:it::oversized::bounded:1:{key}");
        make_large(&server, &name);
        let before = server.sent_bytes();
        let call = here.call(bounded(&truth, key));
        let (answer, slowest) = tokio::join!(call, traffic(&here, &of_others));
        assert_eq!(answer, key);
        until("the string is replaced", || length(&server, &name) < 1_000).await;
        let sent = server.sent_bytes() - before;
        assert!(sent < MOST_SENT, "{sent} bytes were sent");
        assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    }
    assert_reads(&truth, 2, &[&here]).await;
    assert_reads(&of_others, 10, &[&here]).await;
    let errors = |tier: &TierStats| (tier.decode_errors, tier.tier_errors);
    assert_tier(&here, "bounded", Level::L2, errors, (2, 0)).await;
}

/// A strong call whose value is in memory reads by a script.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_string_is_replaced_when_a_strong_call_finds_it() {
    #[multi_tier_cached(ttl = "1h", consistency = "strong", skip(truth))]
    async fn strong(truth: &Truth, _key: u64) -> u64 {
        truth.read()
    }

    let server = Server::start();
    let here = patient_instance(&server).await;
    let truth = Truth::new();
    let name = "{cache:0}:it::oversized::strong:1:1";
    here.call(strong(&truth, 1)).await;
    until("the value is stored", || server.records() == [name]).await;
    here.call(strong(&truth, 1)).await;
    assert_reads(&truth, 1, &[&here]).await;
    let _: () = server.command(&["DEL", name]);
    make_large(&server, name);
    let before = server.sent_bytes();
    here.call(strong(&truth, 1)).await;
    assert_reads(&truth, 2, &[&here]).await;
    until("the string is replaced", || length(&server, name) < 1_000).await;
    // The new record is used.
    here.call(strong(&truth, 1)).await;
    assert_reads(&truth, 2, &[&here]).await;
    let sent = server.sent_bytes() - before;
    assert!(sent < MOST_SENT, "{sent} bytes were sent");
}

/// A read asks for the epoch and the history along with the record, unless it knows them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn oversized_string_under_the_key_of_an_epoch_is_replaced_and_never_sent() {
    #[multi_tier_cached(ttl = "1h")]
    async fn fresh(key: u64) -> u64 {
        key
    }

    let server = Server::start();
    let here = patient_instance(&server).await;
    let name = "{cache:0}:it::oversized::fresh:1#epoch";
    make_large(&server, name);
    let before = server.sent_bytes();
    here.call(fresh(1)).await;
    until("the epoch is replaced", || length(&server, name) < 20).await;
    server.until_records(1).await;
    let sent = server.sent_bytes() - before;
    assert!(sent < MOST_SENT, "{sent} bytes were sent");
}
