//! A named lifetime in the value is an error like an elided one; in the error type it is allowed.
use std::borrow::Cow;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn title<'a>(text: &'a str) -> Result<Cow<'a, str>, std::fmt::Error> {
    Ok(text.into())
}

fn main() {}
