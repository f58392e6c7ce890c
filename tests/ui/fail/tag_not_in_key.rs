//! A tag names parts of the key, because only they are known without the value.
use multi_tier_cached::{KeyArgument, multi_tier_cached};

#[derive(serde::Serialize)]
struct Filter {
    kind: u64,
    page: u64,
}

#[multi_tier_cached(ttl = "5m", skip(pool), tags = ["shard:{pool}"])]
async fn skipped(pool: &u64, id: u64) -> u64 {
    *pool + id
}

#[multi_tier_cached(ttl = "5m", tags = ["kind:{filter.kind}"])]
async fn field_of_a_whole(filter: Filter) -> u64 {
    filter.kind + filter.page
}

#[multi_tier_cached(ttl = "5m", key = "{filter.page}:{filter.kind}", tags = ["kind:{filter}"])]
async fn whole_of_a_field(filter: Filter) -> u64 {
    filter.kind + filter.page
}

#[multi_tier_cached(ttl = "5m", tags = ["user:{id}"])]
async fn opaque(id: impl KeyArgument) -> u64 {
    let _ = id;
    1
}

struct Repo {
    tenant: u64,
}

impl Repo {
    #[multi_tier_cached(ttl = "5m", skip(self), tags = ["tenant:{self.tenant}"])]
    async fn skips_self(&self, id: u64) -> u64 {
        self.tenant + id
    }

    #[multi_tier_cached(ttl = "5m", scope = self.tenant, tags = ["tenant:{self.id}"])]
    async fn other_field(&self, id: u64) -> u64 {
        self.tenant + id
    }
}

fn main() {}
