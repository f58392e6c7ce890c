//! A method in the `impl` of a trait cannot load in the background.
use multi_tier_cached::multi_tier_cached;

trait Prices {
    async fn price(&self, item: u64) -> u64;
}

#[async_trait::async_trait]
trait BoxedPrices {
    async fn boxed_price(&self, item: u64) -> u64;
}

#[derive(Clone)]
struct Shop;

impl Prices for Shop {
    #[multi_tier_cached(ttl = "5m", skip(self), trait_impl, stale_while_revalidate = "1m")]
    async fn price(&self, item: u64) -> u64 {
        item
    }
}

#[async_trait::async_trait]
impl BoxedPrices for Shop {
    #[multi_tier_cached(ttl = "5m", skip(self), refresh_ahead)]
    async fn boxed_price(&self, item: u64) -> u64 {
        item
    }
}

fn main() {}
