//! Values that are returned and not kept, because an invalidation of their tags would not find
//! them.

use multi_tier_cached::{CacheRuntime, FunctionBuilder, Level, Memory, Tag, caching};
use testbed::fake_tier::FakeTier;
use testbed::log::Log;
use testbed::{Instance, until};

use super::{Subject, named, tagged, value};

/// Loads twice with a body that tags its result so often. Returns how often the body ran, and the
/// number of tag errors.
async fn loads_with(tags: u64, function: FunctionBuilder<u64>) -> (u64, u64) {
    let subject = Subject::new(Instance::with_memory().await, function);
    for _ in 0..2 {
        let loaded = subject.function.get_or_load((1_u64,), || async {
            for tag in 0..tags {
                caching::tag(Tag::new(format!("tag {tag}")));
            }
            value(1, subject.truth.read())
        });
        assert!(subject.here.call(loaded).await >= value(1, 1));
    }
    let stats = subject.here.stats();
    (subject.reads(), stats.functions[0].tag_errors)
}

#[tokio::test]
async fn value_with_more_than_64_tags_is_not_kept() {
    let none = || named().tags([]);
    assert_eq!(loads_with(64, none()).await, (1, 0));
    let log = Log::default();
    let capture = log.capture();
    assert_eq!(loads_with(65, none()).await, (2, 2));
    drop(capture);
    let lines = log.lines_with("has more tags than a value can have");
    assert_eq!(lines.len(), 1, "{lines:?}");
    let some = || named().tags(["tag 0", "a", "b"]);
    assert_eq!(loads_with(62, some()).await, (1, 0));
    assert_eq!(loads_with(63, some()).await, (2, 2));
}

#[tokio::test]
async fn value_that_the_body_tags_is_not_kept_if_the_function_declares_no_tags() {
    let log = Log::default();
    let capture = log.capture();
    assert_eq!(loads_with(1, named()).await, (2, 2));
    drop(capture);
    let lines = log.lines_with("declares no tags");
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(loads_with(0, named()).await, (1, 0));
}

#[tokio::test]
async fn put_of_a_value_with_too_many_tags_removes_the_present_one() {
    let subject = Subject::new(
        Instance::with_memory().await,
        named().tags_of(|value| {
            let tags = if *value == 7 { 65 } else { 1 };
            (0..tags).map(|tag| Tag::new(format!("{tag}"))).collect()
        }),
    );
    let handle = subject.function.entry((1_u64,));
    subject.here.call(handle.put(6)).await.unwrap();
    assert_eq!(subject.here.call(handle.peek()).await, Some(6));
    subject.here.call(handle.put(7)).await.unwrap();
    assert_eq!(subject.here.call(handle.peek()).await, None);
}

/// The private tier has no ledger, and no other tier judges its records.
#[tokio::test]
async fn tagged_value_is_not_stored_in_a_tier_without_a_ledger() {
    for (function, is_stored) in [
        (tagged(), false),
        (named(), true),
        (named().tags([]), true),
        (named().stale_if_error(super::MINUTE), true),
    ] {
        let tier = FakeTier::new();
        let builder = CacheRuntime::builder()
            .l1(Memory::builder())
            .l2(tier.clone());
        let here = Instance::build(builder).await;
        let subject = Subject::new(here, function);
        let loaded = subject
            .function
            .get_or_load((1_u64,), || async { value(1, 1) });
        subject.here.call(loaded).await;
        let stats = || subject.here.stats().functions[0].clone();
        let refused = || stats().tier(Level::L2).unwrap().refused_fills.tags;
        until("the value is stored or refused", || {
            tier.len() as u64 + refused() == 1
        })
        .await;
        assert_eq!(refused(), u64::from(!is_stored));
        let text = subject.here.stats().to_string();
        assert_eq!(text.contains("tagged, not stored"), !is_stored, "{text}");
    }
}

/// The tier has a ledger, and its store did not tell the state.
#[tokio::test]
async fn tagged_value_is_not_stored_under_a_lease_without_a_mark() {
    let tier = FakeTier::with_ledger();
    tier.fake_ledger().withhold_marks();
    let builder = CacheRuntime::builder().l2(tier.clone());
    let subject = Subject::new(Instance::build(builder).await, tagged());
    for version in 1..=2 {
        assert_eq!(subject.version(1).await, version);
        subject.truth.commit();
    }
    let stats = subject.here.stats().functions[0].clone();
    assert_eq!(stats.tier(Level::L2).unwrap().refused_fills.tags, 2);
    assert!(tier.is_empty());
}
