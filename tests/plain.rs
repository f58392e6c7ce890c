//! Plain functions and a tier that others share: `install` refuses them, so this binary stands alone.

use multi_tier_cached::{CacheRuntime, ErrorKind, Memory, Objects, Redis, multi_tier_cached};

#[multi_tier_cached(ttl = "1h", tiers = "l1")]
fn in_memory(id: u64) -> u64 {
    id * 2
}

#[multi_tier_cached(ttl = "1h")]
fn anywhere(id: u64) -> u64 {
    id * 3
}

#[tokio::test]
async fn a_plain_function_does_not_wait_for_a_shared_tier() {
    let redis = Redis::new("redis://127.0.0.1:1");
    let builder = CacheRuntime::builder().l1(Memory::builder());
    let error = builder.l2(redis).install().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Configuration);
    let text = error.to_string();
    assert!(
        text.contains("l2 (redis) cannot serve a plain `fn`")
            && text.contains("(function `plain::anywhere`")
            && text.contains("help: write `async fn`, or `tiers = \"l1\"`"),
        "{text}"
    );
    assert!(!text.contains("in_memory"), "{text}");
    // Its operations are tasks of the async runtime.
    let memory = opendal::services::Memory::default();
    let objects = Objects::new(opendal::Operator::new(memory).unwrap());
    let builder = CacheRuntime::builder().l1(Memory::builder()).l4(objects);
    let error = builder.install().await.unwrap_err().to_string();
    assert!(
        error.contains("l4 (objects) cannot serve a plain `fn`"),
        "{error}"
    );
    assert_eq!((in_memory(1), anywhere(1)), (2, 3));
}
