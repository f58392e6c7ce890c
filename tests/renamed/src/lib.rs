//! The facade under another name, in a crate of the edition 2021 that forbids and denies what it can.
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
#![allow(clippy::unused_async)] // The bodies are short here.

use memo::{invalidate, multi_tier_cached};

/// A greeting, made once an hour for each name.
///
/// # Errors
/// When the name is empty.
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

/// Has methods.
#[derive(Debug)]
pub struct Shop {
    /// Whose it is.
    pub tenant: u64,
}

impl Shop {
    /// The price of an item.
    #[multi_tier_cached(ttl = "1h", scope = self.tenant)]
    pub async fn price(&self, item: &str) -> Option<u64> {
        self.tenant.checked_add(item.len() as u64)
    }
}

/// Forgets a greeting and a price.
///
/// # Errors
/// When a shared tier could not be told.
pub async fn forget(shop: &Shop, name: &str) -> Result<(), memo::Error> {
    invalidate!(greeting, name, true).await?;
    invalidate!(Shop::price, shop, name).await?;
    invalidate!(greeting).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_works_under_another_name() {
        let shop = Shop { tenant: 1 };
        assert_eq!(greeting("ada", true).await.as_deref(), Ok("ADA"));
        assert_eq!(
            greeting::entry("ada", true).peek().await.as_deref(),
            Some("ADA")
        );
        assert_eq!(shop.price("ada").await, Some(4));
        forget(&shop, "ada").await.unwrap();
        assert_eq!(greeting::entry("ada", true).peek().await, None);
        assert_eq!(Shop::price_entry(&shop, "ada").peek().await, None);
    }
}
