//! `tag` is followed by texts of tags, each separated by a comma.
use multi_tier_cached::{expire, invalidate};

fn main() {
    let id = 1;
    let _ = invalidate!(tag);
    let _ = invalidate!(tag id);
    let _ = invalidate!(tag "a" "b");
    let _ = invalidate!(tag "a", id);
    let _ = invalidate!(tag "a:{}");
    let _ = expire!(tag);
    let _ = expire!(tag "a:{missing}");
    let _ = expire!(tag format!("a:{id}"));
}
