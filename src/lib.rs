//! facade
extern crate self as multi_tier_cached;
pub use cache_core::*;
pub use cache_macros::*;
#[cfg(feature = "redis")]
pub use cache_redis::Redis;
#[doc(hidden)]
pub use cache_core::private as __private;
