//! A mistake in the attribute is one error: the handles of the function are declared.
use multi_tier_cached::{invalidate, multi_tier_cached};

#[multi_tier_cached(ttl = "5m", teirs = "l1")]
async fn unknown_option(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5 minuts")]
async fn wrong_duration(id: u64) -> u64 {
    id
}

#[multi_tier_cached(tiers = "l1")]
async fn missing_ttl(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", nmae = "generic")]
async fn generic<'a, T, E>(text: &'a str, pool: E) -> Result<Vec<T>, String>
where
    T: Clone + Send + Sync + 'static,
    E: Send,
{
    drop(pool);
    Err(text.to_owned())
}

#[multi_tier_cached(ttl = "5m")]
async fn opaque(id: u64) -> impl Clone + Send + Sync {
    id
}

#[multi_tier_cached(ttl = "5m")]
async fn borrowed(name: &str) -> Option<&str> {
    Some(name)
}

#[multi_tier_cached(ttl = "5m")]
const fn constant(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m")]
async fn nothing(id: u64) {
    drop(id);
}

async fn keys() {
    invalidate!(unknown_option, 42).await.unwrap();
    invalidate!(wrong_duration, 42).await.unwrap();
    invalidate!(missing_ttl, 42).await.unwrap();
    invalidate!(opaque, 42).await.unwrap();
    invalidate!(borrowed, "a").await.unwrap();
    invalidate!(constant, 42).await.unwrap();
    invalidate!(nothing, 42).await.unwrap();
    invalidate!(generic::<u64, u8>, "a", 1).await.unwrap();
}

async fn functions() {
    invalidate!(unknown_option).await.unwrap();
    invalidate!(wrong_duration).await.unwrap();
    invalidate!(missing_ttl).await.unwrap();
    invalidate!(generic::<u64, u8>).await.unwrap();
}

async fn handles() -> (u64, usize) {
    let values: Vec<u64> = generic::entry::<u64, u8>("a", 2).refresh().await.unwrap();
    (missing_ttl::entry(42).refresh().await, values.len())
}

fn main() {
    drop((keys(), functions(), handles()));
}
