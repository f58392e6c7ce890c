//! The error of a load in the background borrows nothing.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1m")]
async fn parse<'a>(text: &'a str) -> Result<u64, Wrong<'a>> {
    text.parse().map_err(|_| Wrong(text))
}

struct Wrong<'a>(&'a str);

fn main() {}
