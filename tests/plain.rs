//! Plain functions beside a tier that cannot serve them: `install` refuses the tier. A process
//! installs one runtime, so this test is a binary of its own.

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
async fn install_is_refused_when_a_plain_function_would_use_a_shared_or_an_object_tier() {
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
    // The operations of the object tier are Tokio tasks, which a blocked thread cannot run.
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
