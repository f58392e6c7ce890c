//! Counters that tell reasons and scopes apart.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{
    CacheRuntime, Disk, Function, Memory, Tag, expire, invalidate, multi_tier_cached,
};
use serde::{Deserialize, Serialize};
use testbed::directory::Directory;
use testbed::server::Server;
use testbed::{Gate, Instance, poll_once, until};

use super::{HOUR, counter};

fn uncached(runtime: &CacheRuntime, function: &str, reason: &str) -> u64 {
    let attributes = [("function", function), ("reason", reason)];
    counter(runtime, "multi_tier_cached.calls.uncached", &attributes)
}

#[multi_tier_cached(ttl = "1h", name = "splits::recursive", skip(depth))]
async fn recursive(key: u64, depth: u64) -> u64 {
    match depth {
        0 => key,
        _ => Box::pin(recursive(key, depth - 1)).await,
    }
}

#[tokio::test]
async fn call_of_a_body_with_its_own_key_is_recursive() {
    let here = Instance::with_memory().await;
    assert_eq!(here.call(recursive(1, 2)).await, 1);
    assert_eq!(uncached(&here, "splits::recursive", "recursive"), 2);
    for other in ["no_key", "impatient", "blocking", "no_runtime"] {
        assert_eq!(uncached(&here, "splits::recursive", other), 0, "{other}");
    }
}

#[derive(Debug)]
struct Failed;

#[tokio::test]
async fn call_that_waited_for_a_failed_load_is_impatient() {
    let here = Instance::with_memory().await;
    let gate = Arc::<Gate>::default();
    let function = Function::<u64>::builder("splits::impatient")
        .ttl(HOUR)
        .build();
    let function = function.unwrap();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let (gate, function) = (Arc::clone(&gate), function.clone());
            here.spawn(async move {
                let body = || async move {
                    gate.pass().await;
                    Err::<u64, _>(Failed)
                };
                function.get_or_load((1,), body).await
            })
        })
        .collect();
    gate.until_entered(1).await;
    let waits = [("function", "splits::impatient"), ("for", "flight")];
    until("two calls wait", || {
        counter(&here, "multi_tier_cached.waits", &waits) == 2
    })
    .await;
    gate.let_through(1);
    gate.until_entered(3).await;
    assert_eq!(uncached(&here, "splits::impatient", "impatient"), 1);
    gate.open();
    for call in calls {
        assert!(call.await.unwrap().is_err());
    }
}

#[multi_tier_cached(ttl = "1h", name = "splits::plain")]
fn plain(key: u64) -> u64 {
    key
}

#[multi_tier_cached(ttl = "1h", stale_if_error = "1h", name = "splits::plain_with_times")]
fn plain_with_times(key: u64) -> Result<u64, String> {
    Ok(key)
}

async fn with_disk(directory: &Directory) -> CacheRuntime {
    let disk = Disk::new(directory.path()).time_limit(Duration::from_secs(10));
    let builder = CacheRuntime::builder().l1(Memory::builder());
    builder.l3(disk).build().await.unwrap()
}

#[test]
fn call_that_must_not_wait_for_a_task_of_its_thread_is_blocking() {
    let directory = Directory::new("splits");
    let tokio = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    tokio.unwrap().block_on(async {
        let runtime = with_disk(&directory).await;
        let counted = || uncached(&runtime, "splits::plain", "blocking");
        let calls = async {
            // The disk is fast: the refresh of a key may be done before the call.
            for key in 1..=1_000 {
                let mut refresh = Box::pin(async { plain::entry(key).refresh().await });
                let _ = poll_once(&mut refresh);
                assert_eq!(plain(key), key);
                if counted() > 0 {
                    break;
                }
            }
        };
        CacheRuntime::scope(runtime.clone(), calls).await;
        assert_eq!(counted(), 1);
    });
}

#[test]
fn call_after_the_end_of_the_tokio_runtime_has_no_runtime() {
    let directory = Directory::new("splits");
    let home = tokio::runtime::Runtime::new().unwrap();
    let runtime = home.block_on(with_disk(&directory));
    drop(home);
    let call = || CacheRuntime::scope_blocking(runtime.clone(), || plain(2));
    assert_eq!((call(), call()), (2, 2));
    assert_eq!(uncached(&runtime, "splits::plain", "no_runtime"), 2);
    let call = || CacheRuntime::scope_blocking(runtime.clone(), || plain_with_times(2));
    assert_eq!((call(), call()), (Ok(2), Ok(2)));
    let counted = uncached(&runtime, "splits::plain_with_times", "no_runtime");
    assert_eq!(counted, 2);
}

/// A map of fields whose number is not known before it is written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Flat {
    #[serde(flatten)]
    rest: BTreeMap<String, u8>,
}

/// A field that is not always written, without which postcard reads another value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Skipping {
    #[serde(skip_serializing_if = "Option::is_none")]
    skipped: Option<u8>,
    other: u8,
}

fn unwritable(runtime: &CacheRuntime, function: &str) -> u64 {
    let attributes = [
        ("function", function),
        ("tier", "l2"),
        ("reason", "unwritable"),
    ];
    counter(runtime, "multi_tier_cached.values.unstored", &attributes)
}

/// One value of a type may fail to be written, or none of its values is written any more.
#[tokio::test]
async fn each_value_that_does_not_survive_its_codec_is_unwritable() {
    let server = Server::start();
    let here = Instance::with_redis_at(&server.url()).await;
    let flat = Function::<Flat>::builder("splits::flat")
        .ttl(HOUR)
        .build()
        .unwrap();
    let skipping = Function::<Skipping>::builder("splits::skipping").ttl(HOUR);
    let skipping = skipping.build().unwrap();
    for key in 0..3_u8 {
        let rest = BTreeMap::from([("a".to_owned(), key)]);
        let load = || async move { Flat { rest } };
        assert_eq!(
            here.call(flat.get_or_load((key,), load)).await.rest.len(),
            1
        );
        let value = Skipping {
            skipped: None,
            other: key,
        };
        let load = || async move { value };
        assert_eq!(
            here.call(skipping.get_or_load((key,), load)).await.other,
            key
        );
    }
    for function in ["splits::flat", "splits::skipping"] {
        until("all values were refused", || {
            unwritable(&here, function) == 3
        })
        .await;
    }
    assert_eq!(server.records(), Vec::<String>::new());
}

#[multi_tier_cached(
    ttl = "1h",
    name = "splits::tagged",
    tags = ["splits"],
    stale_while_revalidate = "1h"
)]
async fn tagged(key: u64) -> u64 {
    key
}

#[tokio::test]
async fn messages_of_a_channel_are_counted_by_scope() {
    let server = Server::start();
    let (here, there) = Instance::two_at(&server.url()).await;
    here.until_coherent().await;
    there.until_coherent().await;
    assert_eq!(there.call(tagged(1)).await, 1);
    let received = |scope| {
        let attributes = [("tier", "l2"), ("scope", scope)];
        counter(&here, "multi_tier_cached.tier.invalidations", &attributes)
    };
    let scopes = ["key", "function", "tag", "all", "expiry"];
    let before = scopes.map(received);
    there.invalidate(invalidate!(tagged, 1)).await;
    there.invalidate(invalidate!(tagged)).await;
    there
        .call(there.runtime.invalidate_tags([Tag::new("splits")]))
        .await
        .unwrap();
    there.invalidate(expire!(tagged, 1)).await;
    there.runtime.invalidate_all().await.unwrap();
    until("each message has arrived", || {
        let now = scopes.map(received);
        now.iter().zip(&before).all(|(now, before)| now > before)
    })
    .await;
}
