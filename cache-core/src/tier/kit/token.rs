//! Tokens of leases, which carry the number of the instance that took the lease.

/// The number of bits of a token that are the number of its instance: bits 43 to 62. A token has
/// 63 bits, so that it has at most 19 decimal digits.
const OWNER_BITS: u32 = 20;

/// The number of the lower bits, which are random.
const RANDOM_BITS: u32 = 63 - OWNER_BITS;

/// The largest number of an instance. The smallest one is 1.
pub const MOST_OWNERS: u32 = (1 << OWNER_BITS) - 1;

/// Makes a token of a lease, which is never zero. `owner` is the number of the instance, from 1 to
/// [`MOST_OWNERS`], and `random` is a random number.
///
/// A token need only differ from the other tokens of its key. Two tokens of different instances
/// most likely differ in the owner, which is random too. Tokens with the same owner most likely
/// differ in 43 random bits.
#[must_use]
pub const fn owned_token(owner: u32, random: u64) -> u64 {
    ((owner & MOST_OWNERS) as u64) << RANDOM_BITS | random >> (u64::BITS - RANDOM_BITS)
}

/// Returns the number of the instance that most likely took a lease, from the token of the lease.
/// Numbers are random, so two instances may have the same one.
#[must_use]
pub const fn owner_of_token(token: u64) -> u32 {
    // The shift leaves so many bits that the number fits.
    (token >> RANDOM_BITS) as u32 & MOST_OWNERS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_has_its_owner_and_at_most_63_bits() {
        for owner in [1, 2, 0x8_0000, MOST_OWNERS] {
            for random in [0, 1, u64::MAX, 0x0123_4567_89ab_cdef] {
                let token = owned_token(owner, random);
                assert_eq!(owner_of_token(token), owner);
                assert!(token > 0 && token <= i64::MAX as u64, "{token}");
            }
        }
    }

    #[test]
    fn tokens_of_one_owner_differ_in_their_random_part() {
        let low = owned_token(7, 0);
        let high = owned_token(7, u64::MAX);
        assert_eq!(high - low, (1 << RANDOM_BITS) - 1);
        assert_ne!(owned_token(7, 1 << 63), low);
    }
}
