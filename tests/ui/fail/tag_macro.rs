//! `tag!` takes one text, which names variables and their fields.
use multi_tier_cached::{Tag, tag};

struct Pool;

fn tags(id: u64, pool: Pool) -> Vec<Tag> {
    vec![
        tag!(),
        tag!(id),
        tag!("a", id),
        tag!(""),
        tag!("a:{"),
        tag!("a:{id.to_string()}"),
        tag!("a:{id}{id}"),
        tag!("a:{missing}"),
        tag!("a:{pool}"),
    ]
}

fn main() {}
