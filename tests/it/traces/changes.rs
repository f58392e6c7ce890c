//! `cache.invalidate`.

use multi_tier_cached::{Redis, Tag};
use testbed::Instance;
use testbed::server::Server;
use testbed::spans::Spans;
use tracing::Level;

use super::{HOUR, builder};

const NAME: &str = "traces::changes";

#[tokio::test]
async fn each_change_has_a_span_with_its_scope_and_its_receipt() {
    let mut server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let function = builder(NAME).stale_if_error(HOUR).build().unwrap();
    let spans = Spans::default();
    let _captured = spans.capture(Level::DEBUG);
    let entry = || function.entry((1_u64,));
    let tag = || [Tag::new("traces")];
    let change = async |number: usize| match number {
        0 => drop(here.call(entry().invalidate()).await.unwrap()),
        1 => drop(here.call(entry().expire()).await.unwrap()),
        2 => drop(here.call(function.invalidate_all()).await.unwrap()),
        3 => drop(here.call(function.expire_all()).await.unwrap()),
        4 => drop(here.invalidate_tags(tag()).await.unwrap()),
        5 => drop(here.expire_tags(tag()).await.unwrap()),
        6 => drop(here.invalidate_all().await.unwrap()),
        7 => drop(here.invalidate_matching(NAME, "1").await.unwrap()),
        8 => drop(here.call(entry().put(2)).await.unwrap()),
        _ => drop(here.call(entry().write_guard()).await.unwrap()),
    };
    let expected = [
        ("invalidate", "key", NAME),
        ("expire", "key", NAME),
        ("invalidate", "function", NAME),
        ("expire", "function", NAME),
        ("invalidate", "tags", ""),
        ("expire", "tags", ""),
        ("invalidate", "all", ""),
        ("invalidate", "matching", NAME),
        ("put", "key", NAME),
        ("guard", "key", NAME),
    ];
    for receipt in ["acked", "queued"] {
        if receipt == "queued" {
            server.kill();
            here.until_disconnected().await;
        }
        for (number, (operation, scope, name)) in expected.into_iter().enumerate() {
            spans.clear();
            change(number).await;
            let span = spans.only("cache.invalidate");
            assert_eq!(
                (span.level, span.target),
                (Level::DEBUG, "multi_tier_cached")
            );
            assert_eq!(span.field("operation"), operation);
            assert_eq!(span.field("scope"), scope);
            assert_eq!(span.field("cache.function"), name);
            let receipt = if operation == "guard" { "" } else { receipt };
            assert_eq!(span.field("receipt"), receipt, "{operation} {scope}");
            let op = if operation == "put" {
                "cache.put"
            } else {
                "cache.remove"
            };
            assert_eq!(span.field("sentry.op"), op);
            assert!(spans.are_closed());
        }
    }
}

#[tokio::test]
async fn operations_of_tiers_are_inside_the_change() {
    let server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    let function = builder("traces::changed").build().unwrap();
    let spans = Spans::default();
    let _captured = spans.capture(Level::TRACE);
    here.call(function.entry((1_u64,)).invalidate())
        .await
        .unwrap();
    assert_eq!(spans.names(), ["cache.invalidate", "cache.tier"]);
    let operation = spans.only("cache.tier");
    assert_eq!(operation.parent, Some(0));
    assert_eq!(operation.field("db.operation.name"), "invalidate");
}
