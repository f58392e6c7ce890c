//! A crate that uses the facade under another name, in edition 2021, with all lints denied.
#![forbid(unsafe_code)]
#![deny(
    warnings,
    missing_docs,
    missing_debug_implementations,
    unreachable_pub,
    unused_qualifications,
    elided_lifetimes_in_paths,
    clippy::all,
    clippy::pedantic
)]
#![allow(clippy::unused_async)] // The bodies are too short to await anything.

use memo::{invalidate, multi_tier_cached, LoadTimeout};

/// Returns a greeting, which is computed once an hour for each name.
///
/// # Errors
/// If the name is empty.
#[multi_tier_cached(ttl = "1h")]
pub async fn greeting(name: &str, loud: bool) -> Result<String, std::fmt::Error> {
    if name.is_empty() {
        return Err(std::fmt::Error);
    }
    Ok(if loud {
        name.to_uppercase()
    } else {
        name.to_owned()
    })
}

/// Returns the length of a page, with every time besides the ttl.
///
/// # Errors
/// If the load took too long.
#[multi_tier_cached(
    ttl = "1h",
    skip(shop),
    stale_while_revalidate = "1m",
    stale_if_error = "6h",
    stale_if = |_: &LoadTimeout| true,
    soft_timeout = "200ms",
    hard_timeout = "2s",
    load_limit = "30s",
    refresh_ahead,
    jitter = "10%",
    none_ttl = "30s",
    error_ttl = "5s",
    error_if = |_| false,
    ttl_from = |_: &usize| std::time::Duration::from_secs(60)
)]
pub async fn length(shop: &Shop, page: &str) -> Result<Option<usize>, LoadTimeout> {
    Ok((shop.tenant > 0).then_some(page.len()))
}

/// A type with methods.
#[derive(Clone, Debug)]
pub struct Shop {
    /// Owner of the shop.
    pub tenant: u64,
}

impl Shop {
    /// Returns the price of an item.
    #[multi_tier_cached(ttl = "1h", scope = self.tenant)]
    pub async fn price(&self, item: &str) -> Option<u64> {
        self.tenant.checked_add(item.len() as u64)
    }

    /// Returns the weight of an item, which is kept also if there is none.
    #[multi_tier_cached(ttl = "1h", scope = self.tenant, stale_if_error = "1m", none_ttl = "1m")]
    pub async fn weight(&self, item: &str) -> Option<u64> {
        self.tenant.checked_sub(item.len() as u64)
    }

    /// Returns the price of a box, in a method whose name ends in an underscore.
    #[multi_tier_cached(ttl = "1h", scope = self.tenant)]
    pub async fn box_(&self, item: &str) -> Option<u64> {
        self.tenant.checked_mul(item.len() as u64)
    }
}

/// Invalidates a greeting and a price.
///
/// # Errors
/// If a shared tier could not be reached.
pub async fn forget(shop: &Shop, name: &str) -> Result<(), memo::Error> {
    invalidate!(greeting, name, true).await?;
    invalidate!(Shop::price, shop, name).await?;
    invalidate!(Shop::box_, shop, name).await?;
    invalidate!(greeting).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn functions_and_handles_work_when_the_facade_has_another_name() {
        let shop = Shop { tenant: 1 };
        assert_eq!(greeting("ada", true).await.as_deref(), Ok("ADA"));
        assert_eq!(
            greeting::entry("ada", true).peek().await.as_deref(),
            Some("ADA")
        );
        assert_eq!(shop.price("ada").await, Some(4));
        assert_eq!(shop.weight("ada").await, None);
        assert_eq!(length(&shop, "news").await, Ok(Some(4)));
        forget(&shop, "ada").await.unwrap();
        assert_eq!(greeting::entry("ada", true).peek().await, None);
        assert_eq!(Shop::price_entry(&shop, "ada").peek().await, None);
    }
}
