//! Functions that are built instead of annotated.

use std::time::Duration;

use multi_tier_cached::{Consistency, Error, ErrorKind, Function, Level, multi_tier_cached};
use testbed::server::Server;
use testbed::{Instance, assert_count, until};

use super::MINUTE;

#[multi_tier_cached(ttl = "1h")]
async fn annotated(id: u64) -> u64 {
    id
}

#[tokio::test]
async fn built_function_has_the_operations_of_an_annotated_one() {
    let function = Function::<u64>::builder("handles::function")
        .ttl(MINUTE)
        .cache_if(|value| *value < 10)
        .build()
        .unwrap();
    Instance::with_memory()
        .await
        .call(async {
            assert_eq!(function.get_or_load((1,), || async { 1 }).await, 1);
            let result: Result<u64, String> = function
                .get_or_load((1,), || async { Err("never runs".to_owned()) })
                .await;
            assert_eq!(result, Ok(1));
            let none: Option<u64> = function.get_or_load((2,), || async { None }).await;
            assert_eq!(none, None);
            assert_eq!(
                function.get_or_load((3,), || async { 11 }).await,
                11,
                "a value that `cache_if` rejects is returned"
            );
            assert_eq!(function.entry((3,)).peek().await, None);
            function.entry((4,)).put(4).await.unwrap();
            assert_eq!(function.entry((4,)).refresh(|| async { 5 }).await, 5);
            assert_eq!(function.get_or_load((4,), || async { 6 }).await, 5);
            function.invalidate_all().await.unwrap();
            assert_eq!(function.get_or_load((4,), || async { 6 }).await, 6);
        })
        .await;
}

#[test]
fn built_function_with_a_setting_that_has_no_effect_is_refused() {
    let wrong = |made: Result<Function<u64>, Error>, says: &str| {
        let error = made.map(drop).unwrap_err().to_string();
        assert!(error.contains(says), "{says:?} is not in {error:?}");
    };
    let made = || Function::<u64>::builder("handles::wrong").ttl(MINUTE);
    let in_memory = || Function::<u64>::in_memory("handles::wrong").ttl(MINUTE);
    let (l1, l2) = (Level::L1, Level::L2);
    wrong(made().tiers([l2, l1, l2]).build(), "l2 is listed twice");
    wrong(
        in_memory().tiers([l1, l2]).build(),
        "has a tier below memory",
    );
    wrong(
        in_memory().codec("json").build(),
        "need a tier below memory",
    );
    let strong = made().tiers([l1]).consistency(Consistency::Strong);
    wrong(strong.build(), "need a tier below memory");
    let times = made().ttl([(l1, MINUTE), (l2, MINUTE)]).tiers([l1]);
    wrong(times.build(), "a time for l2");
    assert!(made().tiers([l2, l1]).build().is_ok());
}

#[test]
fn built_function_without_a_ttl_or_with_a_ttl_of_zero_is_refused() {
    let builder = || Function::<u64>::builder("handles::wrong_ttl");
    assert!(builder().build().is_err());
    assert!(builder().ttl(Duration::ZERO).build().is_err());
}

/// The error must name both places, so that one can be renamed.
#[test]
fn name_of_a_built_or_annotated_function_cannot_be_used_twice() {
    let build = |name| Function::<u64>::builder(name).ttl(MINUTE).build();
    let _first = build("handles::twice").unwrap();
    let error = build("handles::twice").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DuplicateFunction);
    let text = error.to_string();
    assert_eq!(text.matches("built_functions.rs:").count(), 2, "{text}");
    let error = build("it::handles::built_functions::annotated").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DuplicateFunction);
}

/// A program may build a function again and again, so the runtime must not keep what the dropped
/// ones had.
#[tokio::test]
async fn function_that_is_dropped_and_rebuilt_uses_its_tiers_and_leaves_no_counters() {
    let server = Server::start();
    let runtime = Instance::with_redis_at(&server.url()).await;
    runtime
        .call(async {
            for n in 0..10 {
                let function = Function::<u64>::builder("handles::rebuilt").ttl(MINUTE);
                let function = function.version(n).build().unwrap();
                function.get_or_load((1,), || async { 1 }).await;
            }
        })
        .await;
    until("each version has its record", || {
        server.records().len() == 10
    })
    .await;
    let functions = runtime.stats().functions.len();
    assert_count("functions with counters", functions, 1, &[&runtime]).await;
}
