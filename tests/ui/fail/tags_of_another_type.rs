//! `tags_of` takes the value and returns tags.
use multi_tier_cached::{multi_tier_cached, tag};

#[multi_tier_cached(ttl = "5m", tags_of = |value: &String| [tag!("a:{value}")])]
async fn of_another_value(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", tags_of = |value: &u64| vec![format!("a:{value}")])]
async fn of_texts(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags_of = |value: &u64| tag!("a:{value}"))]
async fn of_one_tag(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", tags_of)]
async fn alone(id: u64) -> u64 {
    id
}

fn main() {}
