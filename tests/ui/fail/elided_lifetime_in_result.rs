//! A value that borrows from an argument cannot outlive the call, also where the lifetime is not named.
use std::borrow::Cow;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn title(text: &str) -> Cow<'_, str> {
    text.into()
}

fn main() {}
