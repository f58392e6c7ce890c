//! `share_error` is the path of a function, given once, for an error that is owned.
use multi_tier_cached::multi_tier_cached;

struct Borrowed<'a>(&'a str);

fn again<'a>(error: &Borrowed<'a>) -> Borrowed<'a> {
    Borrowed(error.0)
}

#[multi_tier_cached(ttl = "5m", share_error = again, share_error = again)]
async fn twice(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", share_error = |error: &std::fmt::Error| *error)]
async fn no_path(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", share_error)]
async fn no_value(id: u64) -> Result<u64, std::fmt::Error> {
    Ok(id)
}

#[multi_tier_cached(ttl = "5m", share_error = again)]
async fn borrowing<'a>(text: &'a str) -> Result<u64, Borrowed<'a>> {
    Err(Borrowed(text))
}

fn main() {}
