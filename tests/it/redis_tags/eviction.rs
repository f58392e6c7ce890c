//! The hit ratio of a server that evicts: the ledger of tags takes memory, and no record.

use std::collections::HashMap;

use multi_tier_cached::{Function, Tag};
use testbed::Instance;
use testbed::counts::function_stats;

use super::*;

/// The values of all keys take 1.7 times the memory of the server.
const KEYS: u64 = 6_000;
const VALUE: usize = 8_192;
const MEMORY: &str = "35mb";

/// Each value has tags of its own: 198,000 in all.
const TAGS_OF_A_VALUE: u64 = 33;

/// Ids of one call.
const IDS: usize = 100;
const CALLS: u64 = 200;
/// Other tags that are invalidated before each call: 20,000 in all, so that no record becomes older
/// than the ledger reaches.
const INVALIDATED: u64 = 100;

/// Returns a generator of numbers from 0 to 1: a linear congruential one, with Knuth's constants.
fn random() -> impl FnMut() -> f64 {
    let mut state = 7_u64;
    move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005);
        state = state.wrapping_add(1_442_695_040_888_963_407);
        (state >> 11) as f64 / (1_u64 << 53) as f64
    }
}

/// A value, which begins with its id.
fn value(id: u64) -> String {
    format!("{id:08}{}", "x".repeat(VALUE - 8))
}

#[expect(clippy::ptr_arg, reason = "the type of the values")]
fn tags_of(value: &String) -> Vec<Tag> {
    let tag = |tag| Tag::new(format!("{}:{tag}", &value[..8]));
    (0..TAGS_OF_A_VALUE).map(tag).collect()
}

/// Returns the share of ids that were found in Redis in the second half of the calls.
async fn hit_ratio(name: &'static str, has_tags: bool) -> f64 {
    let server = Server::start_with(&["--maxmemory", MEMORY, "--maxmemory-policy", "allkeys-lru"]);
    let here = Instance::with_redis_at(&server.url()).await;
    let builder = Function::<String>::builder(name).ttl(HOUR);
    let builder = builder.tiers([Level::L2]);
    let builder = match has_tags {
        true => builder.tags_of(tags_of),
        false => builder,
    };
    let function = builder.build().expect("a function");
    let hits = || {
        let stats = function_stats(&here, name).expect("the function was called");
        let tier = stats.tiers.iter().find(|tier| tier.level == Level::L2);
        tier.expect("the tier").hits
    };
    let mut random = random();
    let mut first_half = 0;
    for call in 0..CALLS {
        if has_tags {
            let first = call * INVALIDATED;
            let others = first..first + INVALIDATED;
            let others = others.map(|tag| Tag::new(format!("other:{tag}")));
            here.invalidate(here.invalidate_tags(others)).await;
        }
        // Some keys are read more often than others, as in a cache that is worth having.
        let ids = std::iter::repeat_with(|| (random().powi(3) * KEYS as f64) as u64);
        let ids: Vec<u64> = ids.take(IDS).collect();
        let body = async |ids: Vec<u64>| ids.into_iter().map(|id| (id, value(id))).collect();
        let found: HashMap<u64, String> = here
            .call(function.get_or_load_many(&ids, |id| (*id,), body))
            .await;
        assert!(ids.iter().all(|id| found.contains_key(id)));
        if call + 1 == CALLS / 2 {
            first_half = hits();
        }
    }
    assert!(server.stat("evicted_keys") > 0, "nothing was evicted");
    (hits() - first_half) as f64 / (CALLS as f64 / 2.0 * IDS as f64)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hit_ratio_of_a_server_that_evicts_is_that_without_tags() {
    let without = hit_ratio("redis_tags::eviction::without", false).await;
    let with = hit_ratio("redis_tags::eviction::with", true).await;
    println!("hits in Redis: {without:.3} without tags, {with:.3} with 198,000 tags");
    assert!(without > 0.5, "{without}");
    // The ledger takes 1.3 of 35 MB, and the digests of a record a thirtieth of it.
    assert!(with > without - 0.05, "{with} beside {without}");
}
