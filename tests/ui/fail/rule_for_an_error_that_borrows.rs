//! `stale_if` and `error_if` take errors that live as long as the cache.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_if_error = "1h", stale_if = |_| true)]
async fn parse<'a>(text: &'a str) -> Result<u64, Wrong<'a>> {
    text.parse().map_err(|_| Wrong(text))
}

struct Wrong<'a>(&'a str);

fn main() {}
