//! facade
extern crate self as multi_tier_cached;
pub use cache_core::*;
pub use cache_macros::*;
#[doc(hidden)]
pub use cache_core::private as __private;
