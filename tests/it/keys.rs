//! Two argument lists never share an entry, in memory or in Redis.

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Function, Level, TierStats, invalidate, multi_tier_cached};

use testbed::counts::function_stats;
use testbed::server::Server;
use testbed::{assert_count, assert_tier, memory_alone, two_tiers};

#[multi_tier_cached(ttl = "1h")]
async fn two(a: &str, b: &str) -> String {
    format!("{a}|{b}")
}

#[multi_tier_cached(ttl = "1h")]
async fn maybe(a: Option<&str>) -> String {
    format!("{a:?}")
}

#[multi_tier_cached(ttl = "1h")]
async fn any(a: impl serde::Serialize + std::fmt::Debug + 'static) -> String {
    format!("{a:?} of {}", std::any::type_name_of_val(&a))
}

#[multi_tier_cached(ttl = "1h", key = "{a}/{b}")]
async fn template(a: &str, b: &str) -> String {
    format!("{a}|{b}")
}

/// Calls pairs of argument lists that would have one key if their texts were joined.
async fn look_alikes() {
    assert_eq!(
        (two("a:b", "c").await, two("a", "b:c").await),
        ("a:b|c".into(), "a|b:c".into())
    );
    assert_eq!(
        (two("a,b", "").await, two("a", "b,").await),
        ("a,b|".into(), "a|b,".into())
    );
    assert_eq!(
        (maybe(None).await, maybe(Some("")).await),
        ("None".into(), "Some(\"\")".into())
    );
    assert_eq!(
        (any(1u8).await, any(1u64).await),
        ("1 of u8".into(), "1 of u64".into())
    );
    assert_eq!(
        (any("1").await, any(None::<u8>).await),
        (
            "\"1\" of &str".into(),
            "None of core::option::Option<u8>".into()
        )
    );
    assert_eq!(
        (template("a/b", "c").await, template("a", "b/c").await),
        ("a/b|c".into(), "a|b/c".into())
    );
    let hash = Function::<String>::builder("keys::by_tuple")
        .ttl(Duration::from_secs(60))
        .build()
        .unwrap();
    assert_eq!(
        hash.get_or_load((1u8,), || async { "u8".to_owned() }).await,
        "u8"
    );
    assert_eq!(
        hash.get_or_load((1u64,), || async { "u64".to_owned() })
            .await,
        "u64"
    );
    assert_eq!(
        hash.get_or_load((1u8,), || async { "again".to_owned() })
            .await,
        "u8"
    );
}

#[tokio::test]
async fn argument_lists_that_look_alike_have_entries_of_their_own() {
    let server = Server::start();
    CacheRuntime::scope(memory_alone().await, look_alikes()).await;
    for _ in 0..2 {
        CacheRuntime::scope(two_tiers(&server.url()).await, look_alikes()).await;
    }
}

/// A record may get under another key by RENAME or by hand.
#[tokio::test]
async fn record_of_other_arguments_under_a_key_is_a_miss() {
    let server = Server::start();
    CacheRuntime::scope(two_tiers(&server.url()).await, async {
        two("a", "b").await
    })
    .await;
    let _: () = server.command(&[
        "RENAME",
        "{cache:0}:it::keys::two:1:a,b",
        "{cache:0}:it::keys::two:1:a,c",
    ]);
    let runtime = two_tiers(&server.url()).await;
    assert_eq!(
        CacheRuntime::scope(runtime.clone(), async { two("a", "c").await }).await,
        "a|c"
    );
    let found = |tier: &TierStats| (tier.hits, tier.mismatches);
    assert_tier(&runtime, "keys::two", Level::L2, found, (0, 1)).await;
}

/// An argument whose serialization fails makes no key, so the body runs for each call.
#[tokio::test]
async fn calls_whose_arguments_make_no_key_run_the_body_and_are_counted() {
    #[derive(Clone, Copy)]
    struct Refuses;

    impl serde::Serialize for Refuses {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("not today"))
        }
    }

    #[multi_tier_cached(ttl = "1h", tiers = "l1")]
    async fn refuses(_: Refuses) -> u8 {
        7
    }

    let runtime = memory_alone().await;
    CacheRuntime::scope(runtime.clone(), async {
        assert_eq!((refuses(Refuses).await, refuses(Refuses).await), (7, 7));
        let error = invalidate!(refuses, Refuses).await.unwrap_err();
        assert!(format!("{error:?}").contains("not today"), "{error:?}");
    })
    .await;
    let stats = function_stats(&runtime, "refuses").unwrap();
    assert_count("key errors", stats.key_errors, 2, &[&runtime]).await;
}
