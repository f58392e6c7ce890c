//! A value that borrows from an argument is an error, also if the lifetime is elided.
use std::borrow::Cow;

use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m")]
async fn title(text: &str) -> Cow<'_, str> {
    text.into()
}

fn main() {}
