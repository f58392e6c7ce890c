//! The time between the moment at which a value is due and the end of its freshness, in 14 bits.

use std::time::Duration;

/// Bits of the mantissa, without the leading one.
const MANTISSA: u32 = 9;

/// The first number whose leading bit is above the mantissa. Smaller numbers are written as they
/// are, with the exponent zero.
const LEADING: u64 = 1 << MANTISSA;

/// A time in milliseconds with an exponent of 5 bits and a mantissa of 9 bits. It is exact up to
/// one second, then to one part in 512, and its largest number is 34 years.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ahead(u16);

impl Ahead {
    /// Bits of an encoded time.
    pub(super) const BITS: u32 = MANTISSA + 5;

    const LARGEST: Self = Self((1 << Self::BITS) - 1);

    /// Returns the largest time that can be written and is not longer than `time`. Rounded up, a
    /// value would be fresh for longer than its ttl.
    pub(super) fn at_most(time: Duration) -> Self {
        let millis = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let Some(exponent) = millis.max(1).ilog2().checked_sub(MANTISSA) else {
            return Self(millis as u16);
        };
        let mantissa = (millis >> exponent) - LEADING;
        let bits = (u64::from(exponent) + 1) << MANTISSA | mantissa;
        Self(bits.min(u64::from(Self::LARGEST.0)) as u16)
    }

    /// Returns the time with these bits. Higher bits must be zero.
    pub(super) fn of_bits(bits: u32) -> Self {
        Self(bits as u16)
    }

    pub(super) fn bits(self) -> u32 {
        u32::from(self.0)
    }

    pub(super) fn time(self) -> Duration {
        let bits = u64::from(self.0);
        let (exponent, mantissa) = (bits >> MANTISSA, bits % LEADING);
        Duration::from_millis(match exponent.checked_sub(1) {
            None => mantissa,
            Some(exponent) => (LEADING + mantissa) << exponent,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);
    const NANOSECOND: Duration = Duration::from_nanos(1);

    fn all() -> impl Iterator<Item = Ahead> {
        (0..=Ahead::LARGEST.0).map(Ahead)
    }

    #[test]
    fn each_time_that_can_be_written_is_read_as_it_was() {
        for ahead in all() {
            assert_eq!(Ahead::at_most(ahead.time()), ahead);
            assert_eq!(Ahead::of_bits(ahead.bits()), ahead);
            assert!(ahead.bits() < 1 << Ahead::BITS);
        }
    }

    /// A time just before or after one that can be written, and the middle between two of them.
    #[test]
    fn time_between_two_that_can_be_written_is_the_shorter_one() {
        for (shorter, longer) in all().zip(all().skip(1)) {
            let (from, to) = (shorter.time(), longer.time());
            assert!(from < to, "{from:?} {to:?}");
            let between = [from + NANOSECOND, from + (to - from) / 2, to - NANOSECOND];
            for time in between.into_iter().chain([to - MILLISECOND]) {
                assert_eq!(Ahead::at_most(time), shorter, "{time:?}");
            }
            assert_eq!(Ahead::at_most(to), longer);
        }
    }

    #[test]
    fn time_is_exact_to_one_part_in_512() {
        for (shorter, longer) in all().zip(all().skip(1)) {
            let (from, to) = (shorter.time(), longer.time());
            assert!(to - from <= MILLISECOND.max(to / 512), "{from:?} {to:?}");
        }
    }

    #[test]
    fn time_that_is_too_long_is_the_largest_one() {
        let largest = Ahead::LARGEST.time();
        assert!(largest > Duration::from_secs(34 * 365 * 86_400));
        for time in [largest + MILLISECOND, largest * 2, Duration::MAX] {
            assert_eq!(Ahead::at_most(time), Ahead::LARGEST);
        }
    }
}
