//! Functions inside of functions, names that an expansion might use, shadowed types.
#![deny(warnings)]
use multi_tier_cached::{invalidate, multi_tier_cached};

mod shadows {
    #![allow(dead_code)]
    pub struct Result;
    pub struct Option;
    pub enum Some {}
    pub struct Box;
    pub struct String;
}

use shadows::*;

#[multi_tier_cached(ttl = "5m")]
async fn names(miss: u64, handle: u64, result: u64, returned: u64, kind: u64) -> u64 {
    miss + handle + result + returned + kind
}

#[multi_tier_cached(ttl = "5m")]
async fn hygienic(__mode: u64, __returned: u64, __parts: u64, __miss: u64) -> u64 {
    __mode + __returned + __parts + __miss
}

#[multi_tier_cached(ttl = "5m")]
pub(crate) async fn lifetimes<'a, 'b: 'a, T>(a: &'a str, b: &'b T) -> core::option::Option<u64>
where
    T: serde::Serialize + Sync + ?Sized,
{
    let _ = b;
    core::option::Option::Some(a.len() as u64)
}

fn main() {
    #[multi_tier_cached(ttl = "5m")]
    async fn inner(id: u64) -> u64 {
        id
    }

    let _ = (names(1, 2, 3, 4, 5), inner(1), lifetimes("a", "b"));
    let _ = (invalidate!(inner, 1), invalidate!(names), invalidate!(lifetimes::<str>, "a", "b"));
    let _ = (hygienic(1, 2, 3, 4), invalidate!(hygienic, 1, 2, 3, 4));
    let _ = (Result, Option, Box, String, core::option::Option::None::<Some>);
}
