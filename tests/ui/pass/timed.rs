//! Options of results that are no values compile with every form of result that has them, and with
//! bodies that borrow and are not `Send`.
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use multi_tier_cached::{LoadTimeout, multi_tier_cached};

#[derive(Clone, Debug)]
struct Failure;

impl Failure {
    fn is_transient(&self) -> bool {
        true
    }
}

impl From<LoadTimeout> for Failure {
    fn from(_: LoadTimeout) -> Self {
        Self
    }
}

type Outcome<T> = Result<Option<T>, Failure>;

#[multi_tier_cached(
    ttl = "5m",
    stale_if_error = "6h",
    stale_if = |error| error.is_transient(),
    load_limit = "30s",
    jitter = "0%",
    none_ttl = "30s",
    error_ttl = "60s",
    skip(mut borrowed),
    error_if = Failure::is_transient,
    ttl_from = |seconds: &u64| Duration::from_secs(*seconds)
)]
async fn alias(id: u64, shared: Rc<str>, borrowed: &mut Vec<u64>) -> Outcome<u64> {
    borrowed.push(id);
    std::future::ready(()).await;
    Ok(shared.parse().ok())
}

#[multi_tier_cached(ttl = "5m", load_limit = "1s")]
async fn any_error(id: u64) -> anyhow::Result<u64> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", load_limit = "1s")]
async fn boxed_error(id: u64) -> Result<u64, Box<dyn std::error::Error + Send + Sync>> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", stale_if = is_missing)]
async fn error_without_clone(id: u64) -> Result<u64, std::io::Error> {
    Ok(id)
}

fn is_missing(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
}

#[multi_tier_cached(
    ttl = "5m",
    tiers = "l1",
    stale_if_error = "1h",
    none_ttl = "1m",
    jitter = "5%"
)]
fn plain(id: &str) -> Option<Arc<str>> {
    Some(id.into())
}

struct Shop;

trait Prices {
    async fn price(&self, item: u64) -> Option<u64>;
}

#[async_trait::async_trait]
trait BoxedPrices {
    async fn boxed_price(&self, item: u64) -> Outcome<u64>;
}

impl Prices for Shop {
    #[multi_tier_cached(
        ttl = "5m",
        skip(self),
        trait_impl,
        stale_if_error = "1h",
        none_ttl = "1m"
    )]
    async fn price(&self, item: u64) -> Option<u64> {
        Some(item)
    }
}

#[async_trait::async_trait]
impl BoxedPrices for Shop {
    #[multi_tier_cached(ttl = "5m", skip(self), load_limit = "1s", none_ttl = "1m")]
    async fn boxed_price(&self, item: u64) -> Outcome<u64> {
        Ok(Some(item))
    }
}

fn main() {
    std::mem::drop(alias(1, "2".into(), &mut Vec::new()));
    std::mem::drop((any_error(1), boxed_error(1), error_without_clone(1)));
    std::mem::drop((Shop.price(1), Shop.boxed_price(1)));
    plain("a");
}
