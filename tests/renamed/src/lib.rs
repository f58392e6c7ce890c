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

use std::collections::HashMap;

use memo::{expire, invalidate, multi_tier_cached, tag, LoadTimeout};

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

/// Returns the length of a title, whose values have tags.
#[multi_tier_cached(
    ttl = "1h",
    tags = ["title:{title}:{shop}", "titles"],
    tags_of = |length| [tag!("length:{length}")]
)]
pub async fn title_length(title: &str, shop: u64) -> usize {
    title.len() * usize::try_from(shop).unwrap_or(1)
}

/// Returns the lengths of titles, which are those of `title_length`.
#[multi_tier_cached(batch = titles, same_as = title_length)]
pub async fn title_lengths(titles: &[&str], shop: u64) -> HashMap<String, usize> {
    let factor = usize::try_from(shop).unwrap_or(1);
    let lengths = titles
        .iter()
        .map(|title| ((*title).to_owned(), title.len() * factor));
    lengths.collect()
}

/// Returns the squares of numbers, in their order.
///
/// # Errors
/// If the load took too long.
#[multi_tier_cached(
    ttl = "1h",
    batch(numbers, most = 2),
    skip(shop),
    stale_while_revalidate = "1m",
    hard_timeout = "2s"
)]
pub async fn squares(
    numbers: Vec<u64>,
    shop: &Shop,
    names: Vec<String>,
) -> Result<Vec<Option<u64>>, LoadTimeout> {
    let more = shop.tenant + names.len() as u64;
    Ok(numbers.into_iter().map(|n| Some(n * n + more)).collect())
}

impl Shop {
    /// Returns the prices of items.
    #[multi_tier_cached(batch = items, same_as = Self::price)]
    pub async fn prices(&self, items: &[&str]) -> HashMap<String, u64> {
        let price = |item: &&str| Some(((*item).to_owned(), self.tenant + item.len() as u64));
        items.iter().filter_map(price).collect()
    }

    /// Returns the weights of items, with keys of their own.
    #[multi_tier_cached(ttl = "1h", scope = self.tenant, batch = items, tags = ["weights"])]
    pub async fn weights(&self, items: &[String], unit: u64) -> Vec<(String, u64)> {
        let weight = |item: &String| (item.clone(), self.tenant * unit);
        items.iter().map(weight).collect()
    }
}

/// Invalidates and expires values by their tags and ids.
///
/// # Errors
/// If a shared tier could not be reached.
pub async fn forget_titles(shop: &Shop, titles: &[&str]) -> Result<(), memo::Error> {
    for title in titles {
        invalidate!(tag "title:{title}:{shop.tenant}", "titles").await?;
        expire!(title_length, title, shop.tenant).await?;
    }
    expire!(title_lengths, titles, shop.tenant).await?;
    expire!(Shop::prices, shop, titles).await?;
    expire!(tag "weights").await?;
    invalidate!(title_lengths).await.map(drop)
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

    #[tokio::test]
    async fn tags_and_batches_work_when_the_facade_has_another_name() {
        let shop = Shop { tenant: 1 };
        assert_eq!(title_length("ada", 1).await, 3);
        let lengths = title_lengths(&["ada", "b"], 1).await;
        assert_eq!((lengths["ada"], lengths["b"]), (3, 1));
        assert_eq!(title_length::entry("b", 1).peek().await, Some(1));
        let numbers = squares(vec![2, 3, 4], &shop, Vec::new()).await;
        assert_eq!(numbers, Ok(vec![Some(5), Some(10), Some(17)]));
        assert_eq!(shop.prices(&["ada"]).await["ada"], 4);
        assert_eq!(Shop::price_entry(&shop, "ada").peek().await, Some(4));
        let items = ["ada".to_owned()];
        assert_eq!(shop.weights(&items, 5).await, [("ada".to_owned(), 5)]);
        forget_titles(&shop, &["ada", "b"]).await.unwrap();
        assert_eq!(title_length::entry("b", 1).peek().await, None);
        assert!(title_lengths::entry(&["ada"], 1).peek().await.is_empty());
        assert_eq!(Shop::weights_entry(&shop, &items, 5).peek().await, []);
    }
}
