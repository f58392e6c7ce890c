//! `top` with a real instance.

use crate::data::Shop;

#[tokio::test]
async fn top_shows_the_functions_of_an_instance() {
    let shop = Shop::with_users(&[1, 2, 3]).await;
    shop.until_published().await;
    let run = shop.run(&["top", "--once"]).await;
    assert_eq!(run.code, Some(0), "{run:?}");
    for part in ["1 instances", "cli::user", "shop-1", "l2 ok"] {
        assert!(run.output.contains(part), "{part} is not in {}", run.output);
    }
    let run = shop.run(&["top", "--once", "score"]).await;
    assert!(!run.output.contains("cli::user"), "{}", run.output);
}

#[tokio::test]
async fn top_without_published_instances_says_how_to_publish() {
    let server = testbed::server::Server::start();
    let run = crate::program::run(&["top", "--redis", &server.url()]).await;
    assert_eq!(run.code, Some(1), "{run:?}");
    assert!(run.errors.contains("Redis::observe"), "{run:?}");
}
