//! What every tier must do, done by ours.

use std::time::Duration;

use multi_tier_cached::Redis;
use multi_tier_cached::testing::conformance;
use testbed::server::Server;

#[tokio::test]
async fn redis_conforms() {
    let server = Server::start();
    let numbers = std::sync::atomic::AtomicU32::new(0);
    conformance(|| {
        let number = numbers.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        Box::new(
            Redis::new(server.url())
                .namespace(format!("store-{number}"))
                .lease_time(Duration::from_millis(500))
                .required(),
        )
    })
    .await;
}
