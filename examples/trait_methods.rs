//! A cached method behind a trait: the inherent method is annotated, and the trait's method calls
//! it.

use std::sync::Arc;

use multi_tier_cached::{Error, invalidate, multi_tier_cached};

/// The trait that the rest of the program uses, so that tests can replace it by a mock.
trait Pricing {
    fn price(&self, item: u64) -> impl Future<Output = u64> + Send;
    fn set_price(&self, item: u64, price: u64) -> impl Future<Output = Result<(), Error>> + Send;
}

/// Prices of one shop.
struct Repo {
    shop: u64,
    /// Stands in for a database.
    table: std::sync::Mutex<u64>,
}

impl Repo {
    /// Loads a price.
    ///
    /// The handle of this method is `Repo::cached_price_entry`. A method in the `impl` of a trait
    /// has no handle.
    #[multi_tier_cached(ttl = "5m", scope = self.shop)]
    async fn cached_price(&self, item: u64) -> u64 {
        println!("  (loading the price of {item} in shop {})", self.shop);
        *self
            .table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            + item
    }
}

impl Pricing for Repo {
    async fn price(&self, item: u64) -> u64 {
        self.cached_price(item).await
    }

    async fn set_price(&self, item: u64, price: u64) -> Result<(), Error> {
        *self
            .table
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = price - item;
        invalidate!(Self::cached_price, self, item).await?;
        Ok(())
    }
}

/// Uses only the trait, and its calls are cached.
async fn total(prices: Arc<impl Pricing>, items: &[u64]) -> u64 {
    let mut total = 0;
    for item in items {
        total += prices.price(*item).await;
    }
    total
}

#[tokio::main]
async fn main() -> Result<(), Error> {
    let repo = Arc::new(Repo {
        shop: 1,
        table: std::sync::Mutex::new(100),
    });
    println!("in total: {}", total(Arc::clone(&repo), &[1, 2, 1]).await);
    repo.set_price(1, 250).await?;
    println!("after a change: {}", repo.price(1).await);
    assert_eq!(repo.price(1).await, 250);
    Ok(())
}
