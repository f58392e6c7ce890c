//! Settings that are not valid.

use std::time::Duration;

use multi_tier_cached::{CacheRuntime, Error, ErrorKind, Memcached};

async fn build_error(memcached: Memcached) -> Error {
    let built = CacheRuntime::builder().l2(memcached).build().await;
    built.expect_err("the setting is not valid")
}

#[tokio::test]
async fn setting_that_is_not_valid_fails_the_build_and_is_named() {
    let memcached = || Memcached::new("memcached://host:1");
    for (wrong, problem) in [
        (
            Memcached::new("redis://127.0.0.1:1"),
            "is not a URL of memcached",
        ),
        (
            Memcached::new("memcached://user@host"),
            "is not a URL of memcached",
        ),
        (Memcached::new("memcached://host"), "host:port"),
        (Memcached::new("memcached://host:0"), "host:port"),
        (Memcached::new("memcached://host:65536"), "host:port"),
        (Memcached::new("memcached://[::1]:11211"), "host:port"),
        (
            memcached().namespace("a b"),
            "namespace `a b` of memcached is not valid",
        ),
        (
            memcached().connections(0),
            "number of connections to memcached is 0",
        ),
        (
            memcached().lease_time(Duration::from_millis(2_500)),
            "lease time of memcached is 2.5s: it must be whole seconds",
        ),
        (
            memcached().lease_time(Duration::from_secs(1)),
            "lease time of memcached is 1s",
        ),
        (
            memcached().staleness_bound(Duration::ZERO),
            "staleness bound of memcached is 0s",
        ),
        (
            memcached().time_limit(Duration::ZERO),
            "time limit of memcached is 0s",
        ),
        (
            memcached().max_record_bytes(0),
            "maximum record size of memcached is 0 bytes",
        ),
    ] {
        let error = build_error(wrong).await;
        assert_eq!(error.kind(), ErrorKind::Configuration);
        assert!(error.to_string().contains(problem), "{error}");
    }
}

/// memcached takes no password, but users may write one into the URL.
#[tokio::test]
async fn password_in_a_url_is_never_shown() {
    let secret = Memcached::new("memcached://user:secret@host:1");
    assert!(!format!("{secret:?}").contains("secret"));
    let text = format!("{:?}", build_error(secret).await);
    assert!(text.contains("***@host:1"), "{text}");
    assert!(!text.contains("secret"), "{text}");
}
