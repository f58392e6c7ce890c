//! The weight of an entry in bytes, in 16 bits.

/// Bits of the mantissa, without the leading one.
const MANTISSA: u32 = 11;

/// The first number whose leading bit is above the mantissa. Smaller numbers are written as they
/// are, with the exponent zero.
const LEADING: u32 = 1 << MANTISSA;

/// A number of bytes with an exponent of 5 bits and a mantissa of 11 bits. It is exact below 4 KiB,
/// and larger than the true number by less than one part in 2,048 above. 4 GiB and more are 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Weight(u16);

impl Weight {
    /// Bits of an encoded weight.
    pub(super) const BITS: u32 = u16::BITS;

    const LARGEST: Self = Self(Self::of_parts(u32::MAX.ilog2() - MANTISSA, LEADING - 1));

    /// Returns the smallest weight that can be written and is at least this one. Rounded down, the
    /// entries of a memory could take more than its capacity.
    pub(super) fn at_least(bytes: usize) -> Self {
        let Ok(bytes) = u32::try_from(bytes) else {
            return Self::LARGEST;
        };
        let Some(exponent) = bytes.max(1).ilog2().checked_sub(MANTISSA) else {
            return Self(bytes as u16);
        };
        let scaled = bytes.div_ceil(1 << exponent);
        // Rounded up to the next power of two, the mantissa is zero and the exponent one more.
        Self((Self::of_parts(exponent, 0) + (scaled - LEADING) as u16).min(Self::LARGEST.0))
    }

    const fn of_parts(exponent: u32, mantissa: u32) -> u16 {
        ((exponent + 1) << MANTISSA | mantissa) as u16
    }

    /// Returns the weight with these bits.
    pub(super) fn of_bits(bits: u16) -> Self {
        Self(bits)
    }

    pub(super) fn bits(self) -> u16 {
        self.0
    }

    pub(super) fn bytes(self) -> u32 {
        let bits = u32::from(self.0);
        let (exponent, mantissa) = (bits >> MANTISSA, bits % LEADING);
        match exponent.checked_sub(1) {
            None => mantissa,
            Some(exponent) => (LEADING + mantissa) << exponent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> impl Iterator<Item = Weight> {
        (0..=Weight::LARGEST.0).map(Weight)
    }

    #[test]
    fn each_weight_that_can_be_written_is_read_as_it_was() {
        for weight in all() {
            assert_eq!(Weight::at_least(weight.bytes() as usize), weight);
            assert_eq!(Weight::of_bits(weight.bits()), weight);
        }
    }

    #[test]
    fn weight_between_two_that_can_be_written_is_the_larger_one() {
        for (smaller, larger) in all().zip(all().skip(1)) {
            let (from, to) = (smaller.bytes(), larger.bytes());
            assert!(to - from <= 1.max(from / 2_047), "{from} {to}");
            for bytes in [from + 1, to - 1, to].map(|bytes| bytes.max(from + 1)) {
                assert_eq!(Weight::at_least(bytes as usize), larger, "{bytes}");
            }
        }
    }

    #[test]
    fn weight_of_4_gib_or_more_is_the_largest_one() {
        assert!(Weight::LARGEST.bytes() > u32::MAX - (1 << 21));
        for bytes in [u32::MAX as usize, 1 << 32, usize::MAX] {
            assert_eq!(Weight::at_least(bytes), Weight::LARGEST);
        }
    }
}
