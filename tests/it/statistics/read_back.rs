//! Reports that were serialized are read back, also those of another release.

use std::time::Duration;

use multi_tier_cached::{Level, Redis, RuntimeHealth, Snapshot, Stats, multi_tier_cached};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use testbed::Instance;
use testbed::server::Server;

#[multi_tier_cached(ttl = "100s")]
async fn read(key: u64) -> Result<u64, String> {
    match key {
        0 => Err("zero".to_owned()),
        _ => Ok(key),
    }
}

fn through_json<T: Serialize + DeserializeOwned>(report: &T) -> T {
    let text = serde_json::to_string(report).unwrap();
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[tokio::test]
async fn reports_are_read_back_as_they_were_written() {
    let server = Server::start();
    let redis = Redis::new(server.url()).shards(2);
    let here = Instance::with_redis(redis).await;
    here.until_coherent().await;
    for key in [0, 1, 1, 2] {
        let _ = here.call(read(key)).await;
    }
    let snapshot = here.snapshot().await;
    assert!(!snapshot.tiers[0].shards.is_empty());
    assert!(snapshot.functions[0].load_times.count() > 0);
    assert_eq!(through_json::<Snapshot>(&snapshot), snapshot);
    let health = here.health().await;
    assert_eq!(through_json::<RuntimeHealth>(&health), health);
    let stats = here.stats();
    assert_eq!(through_json::<Stats>(&stats), stats);
}

/// Adds a field to each object that is not a `Duration`, which has the same fields for ever.
fn add_to_each(value: &mut Value) {
    match value {
        Value::Object(fields) if fields.contains_key("nanos") => {}
        Value::Object(fields) => {
            fields.values_mut().for_each(add_to_each);
            fields.insert("of_a_later_release".to_owned(), 1.into());
        }
        Value::Array(values) => values.iter_mut().for_each(add_to_each),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[tokio::test]
async fn fields_of_a_later_release_are_ignored() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    here.until_coherent().await;
    let _ = here.call(read(1)).await;
    let snapshot = here.snapshot().await;
    let mut later = serde_json::to_value(&snapshot).unwrap();
    add_to_each(&mut later);
    assert_eq!(serde_json::from_value::<Snapshot>(later).unwrap(), snapshot);
}

#[test]
fn counters_that_an_earlier_release_did_not_have_are_zero() {
    let earlier = r#"{
        "loads_under_way": 1,
        "tiers": [{
            "level": "l2", "kind": "redis", "breaker": "half_open",
            "health": {"connected": true},
            "answered_in": {"secs": 0, "nanos": 5000000}
        }],
        "functions": [{
            "name": "users::by_id", "version": 2, "loads": 7,
            "tiers": [{"level": "l1", "hits": 3, "refused_fills": {"lease": 1}}]
        }]
    }"#;
    let snapshot: Snapshot = serde_json::from_str(earlier).unwrap();
    let (tier, function) = (&snapshot.tiers[0], &snapshot.functions[0]);
    assert_eq!((&*tier.kind, tier.level), ("redis", Level::L2));
    assert_eq!(tier.answered_in, Some(Duration::from_millis(5)));
    assert_eq!(tier.operations, Default::default());
    assert_eq!((function.loads, function.load_errors), (7, 0));
    assert_eq!((function.hits(), function.load_times.count()), (3, 0));
    assert_eq!(function.tiers[0].refused_fills.total(), 1);
    // A text of another kind is no report.
    assert!(serde_json::from_str::<Snapshot>("{}").is_err());
}
