//! An argument that is neither in `key` nor in `skip` is an error.
use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(ttl = "5m", key = "page:{id}")]
async fn page(id: u64, language: &str) -> String {
    format!("{id} in {language}")
}

fn main() {}
