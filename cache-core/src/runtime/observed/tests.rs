//! The size of what an instance publishes, and what is left out of it.

use std::time::Duration;

use super::*;
use crate::level::Level;
use crate::stats::{FunctionCounters, TierCounters};
use crate::tier::{Breaker, Health, ShardStatus, TierStatus};

const MOST: usize = 32 << 10;

fn shard(index: u8) -> ShardStatus {
    ShardStatus {
        index,
        breaker: Breaker::Closed,
        health: Health {
            coherent_for: Some(Duration::ZERO),
            ..Health::default()
        },
        answered_in: None,
        last_error: None,
    }
}

fn instance() -> PublishedInstance {
    of_shards(vec![shard(0), shard(1)])
}

fn of_shards(shards: Vec<ShardStatus>) -> PublishedInstance {
    let tier = TierStatus::of_shards(Level::L2, "redis", shards);
    PublishedInstance {
        id: "shop-1-7".to_owned(),
        name: "shop-1".to_owned(),
        number: 7,
        version: "1.2.3".to_owned(),
        process: 1,
        began: 1,
        published: 2,
        period: Duration::from_secs(5),
        settings: InstanceSettings::default(),
        snapshot: Snapshot {
            loads_under_way: 0,
            background_loads: crate::background::BackgroundLoads::default(),
            entries_in_memory: 3,
            tiers: vec![tier],
            functions: Vec::new(),
            tag_invalidations: 0,
            tag_expiries: 1,
            invalidations_of_all: 0,
        },
        functions_left_out: 0,
        function_settings: Some(Vec::new()),
        settings_left_out: 0,
    }
}

/// Functions with these statistics, and without settings.
fn of_stats(stats: impl IntoIterator<Item = FunctionStats>) -> Functions {
    Functions {
        stats: stats.into_iter().collect(),
        published: Vec::new(),
    }
}

/// A function whose values live for so many seconds.
fn published(name: &str, seconds: u64) -> PublishedFunction {
    let tier = serde_json::json!({"level": "l2", "ttl": {"secs": seconds, "nanos": 0}});
    let of = serde_json::json!({"name": name, "version": 1, "tiers": [tier], "codec": "json"});
    serde_json::from_value(of).expect("a function")
}

/// Statistics of a function with so many hits.
fn stats(hits: u64) -> FunctionStats {
    let counters = TierCounters::default();
    (0..hits).for_each(|_| {
        counters.hits.add_one();
    });
    let tiers = vec![counters.snapshot(Level::L1)];
    FunctionCounters::default().snapshot(format!("f{hits}"), 1, tiers)
}

#[test]
fn numbers_that_are_zero_are_left_out_and_read_as_zero() {
    let mut expected = instance();
    let text = limited(expected.clone(), of_stats([2, 0, 1].map(stats)), MOST);
    assert!(!text.contains("load_errors"), "{text}");
    expected.snapshot.functions = vec![stats(2), stats(1)];
    let read: PublishedInstance = serde_json::from_str(&text).expect("an instance");
    assert_eq!(read, expected);
    assert!(text.len() < json(&expected).to_string().len() / 2);
}

#[test]
fn most_used_functions_are_kept_if_not_all_of_them_fit() {
    let text = limited(instance(), of_stats((0..1_000).map(stats)), MOST);
    assert!(
        text.len() <= MOST && text.len() > MOST - 200,
        "{}",
        text.len()
    );
    let read: PublishedInstance = serde_json::from_str(&text).expect("an instance");
    let kept = read.snapshot.functions;
    let expected: Vec<_> = (0..1_000).rev().take(kept.len()).map(stats).collect();
    assert_eq!(kept, expected);
    // The one without calls is not counted.
    assert_eq!(kept.len() + read.functions_left_out, 999);
}

/// Publishes the shards of a cluster, and reads what is left of the instance.
fn read_of_shards(make: impl Fn(u8) -> ShardStatus) -> PublishedInstance {
    let instance = of_shards((0..64).map(make).collect());
    let text = limited(instance, of_stats((0..100).map(stats)), MOST);
    assert!(text.len() <= MOST, "{}", text.len());
    let read: PublishedInstance = serde_json::from_str(&text).expect("an instance");
    assert!(read.snapshot.functions.len() > 50, "{read:?}");
    read
}

#[test]
fn reasons_of_all_shards_are_published_once() {
    let reasons = vec!["no permission ".repeat(30); 1];
    let read = read_of_shards(|index| {
        let mut shard = shard(index);
        shard.health.unusable.clone_from(&reasons);
        shard
    });
    let tier = &read.snapshot.tiers[0];
    assert_eq!(tier.health.unusable, reasons);
    assert_eq!(tier.shards, (0..64).map(shard).collect::<Vec<_>>());
}

#[test]
fn shards_are_left_out_if_no_space_is_left_for_functions() {
    let read = read_of_shards(|index| ShardStatus {
        last_error: Some("no reply ".repeat(60)),
        ..shard(index)
    });
    let tier = &read.snapshot.tiers[0];
    assert!(tier.shards.is_empty() && tier.last_error.is_some());
}

#[test]
fn layouts_are_sent_unless_their_own_fields_are_known() {
    let layouts = || [(3, "c"), (1, "a"), (3, "c")].into_iter();
    let sent = unsent(layouts(), &BTreeSet::new());
    let texts = [(1, "\"a\""), (3, "\"c\"")];
    let expected = texts.map(|(field, text)| (keys::fingerprint(field), text.to_owned()));
    assert_eq!(sent, expected);
    // As many others are known.
    let known = [1, 2].map(keys::fingerprint).into();
    assert_eq!(unsent(layouts(), &known), expected[1..]);
}

#[test]
fn settings_are_published_once_with_all_functions_that_have_them() {
    let functions = Functions {
        stats: vec![stats(2)],
        published: vec![published("a", 1), published("b", 2), published("f2", 1)],
    };
    let text = limited(instance(), functions, MOST);
    let read: PublishedInstance = serde_json::from_str(&text).expect("an instance");
    let settings = read.function_settings.expect("settings");
    let groups: Vec<_> = settings
        .iter()
        .map(|of| (of.tiers[0].ttl.as_secs(), &*of.functions))
        .collect();
    // The function with the most calls is the first one.
    let one = ["f2:1", "a:1"].map(str::to_owned);
    let two = ["b:1".to_owned()];
    assert_eq!(groups, [(1, &one[..]), (2, &two[..])]);
}

#[test]
fn settings_of_functions_with_the_fewest_calls_are_left_out_if_not_all_of_them_fit() {
    let named = |hits: u64| published(&format!("f{hits}"), hits);
    let functions = Functions {
        stats: (0..1_000).map(stats).collect(),
        published: (0..1_000).map(named).collect(),
    };
    let text = limited(instance(), functions, MOST);
    assert!(text.len() <= MOST, "{}", text.len());
    let read: PublishedInstance = serde_json::from_str(&text).expect("an instance");
    let settings = read.function_settings.expect("settings");
    assert!(json(&settings).to_string().len() <= MOST / 4);
    let kept: Vec<_> = settings.iter().map(|of| of.functions[0].clone()).collect();
    let expected = (0..1_000).rev().take(kept.len());
    let expected: Vec<_> = expected.map(|hits| format!("f{hits}:1")).collect();
    assert_eq!(kept, expected);
    assert!(kept.len() > 50, "{}", kept.len());
    assert_eq!(kept.len() + read.settings_left_out, 1_000);
    // Most of the space is for the numbers.
    assert!(read.snapshot.functions.len() > 100);
}
