//! A server that is not there.

use std::any::Any;

use multi_tier_cached::{CacheRuntime, Redis, invalidate, multi_tier_cached};
use testbed::Instance;
use testbed::server::Server;

#[multi_tier_cached(ttl = "1h", name = "provoke::served", when_isolated = "serve")]
async fn served(key: u64) -> u64 {
    key
}

/// Values that memory serves, operations that fail, and invalidations that wait.
pub(super) async fn outage() -> (CacheRuntime, Box<dyn Any>) {
    let mut server = Server::start();
    let here = Instance::with_redis(Redis::new(server.url())).await;
    here.until_coherent().await;
    assert_eq!(here.call(served(1)).await, 1);
    server.kill();
    here.until_disconnected().await;
    assert_eq!(here.call(served(1)).await, 1);
    assert_eq!(here.call(served(2)).await, 2);
    here.invalidate(invalidate!(served, 3)).await;
    assert_eq!(here.tier_health().queued, 1);
    (here.runtime.clone(), Box::new((here, server)))
}
