//! The format of bincode's standard configuration: an integer below 251 is a byte, and a larger
//! one follows a byte that says its width.

use super::decoder::{Source, damaged, take_from};
use super::error::DecodeError;

/// The first byte of an integer of 16 bits. Those of 32, 64 and 128 bits follow it.
const TWO_BYTES: u8 = 251;

pub(super) struct Bincode<'p>(&'p [u8]);

impl<'p> Bincode<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Self {
        Self(payload)
    }
}

impl<'p> Source<'p> for Bincode<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], DecodeError> {
        take_from(&mut self.0, count)
    }

    fn left(&self) -> usize {
        self.0.len()
    }

    fn unsigned(&mut self, bits: u32) -> Result<u128, DecodeError> {
        let first = self.byte()?;
        let Some(power) = first.checked_sub(TWO_BYTES) else {
            return Ok(first.into());
        };
        let width = 2_usize << power;
        if width * 8 > bits as usize {
            return Err(damaged("an integer"));
        }
        let bytes = self.take(width)?.iter().rev();
        Ok(bytes.fold(0, |number, byte| number << 8 | u128::from(*byte)))
    }

    /// A character is its bytes in UTF-8, without a length.
    fn char(&mut self) -> Result<char, DecodeError> {
        let first = *self.0.first().ok_or_else(|| damaged("a character"))?;
        let width = match first {
            0..=0x7f => 1,
            0x80..=0xdf => 2,
            0xe0..=0xef => 3,
            0xf0.. => 4,
        };
        let text = std::str::from_utf8(self.take(width)?).ok();
        text.and_then(|text| text.chars().next())
            .ok_or_else(|| damaged("a character"))
    }
}
