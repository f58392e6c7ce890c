//! The numbers of the protocol.

use std::time::Duration;

use cache_core::tier::kit::{MOST_OWNERS, owned_token};

/// A duration in milliseconds, and never zero: Redis refuses an expiry of zero, and a record
/// without an expiry would stay forever.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// A new epoch or history, which is never zero and has at most 63 bits, so at most 19
/// digits.
///
/// The number is random and not counted, so that one that was evicted cannot come back.
pub(crate) fn fresh_number() -> u64 {
    (fastrand::u64(..) >> 1) | 1
}

/// A new token of a lease that an instance takes, with as many digits. The lower 43 bits are random
/// for the same reason. Tokens of different instances most likely differ in bits 43 to 62 as well,
/// which are the owner.
pub(crate) fn fresh_token(owner: u32) -> u64 {
    owned_token(owner, fastrand::u64(..))
}

/// A new number of an instance. It is random, so another instance most likely has another one.
pub(crate) fn fresh_owner() -> u32 {
    fastrand::u32(1..=MOST_OWNERS)
}
