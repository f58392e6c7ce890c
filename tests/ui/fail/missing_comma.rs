use multi_tier_cached::multi_tier_cached;

#[multi_tier_cached(version = 2 ttl = "5m")]
async fn options(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl(l1 = "5m" l2 = "1h"))]
async fn times(id: u64) -> u64 {
    id
}

#[multi_tier_cached(ttl = "5m", skip(a b))]
async fn names(id: u64, a: u64, b: u64) -> u64 {
    id + a + b
}

#[multi_tier_cached(ttl = "5m", l3 = "1h")]
async fn of_a_tier(id: u64) -> u64 {
    id
}

fn main() {}
