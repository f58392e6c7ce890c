//! The format of postcard: integers of seven bits a byte, the lowest first.

use super::decoder::{Source, damaged, take_from};
use super::error::DecodeError;

pub(super) struct Postcard<'p>(&'p [u8]);

impl<'p> Postcard<'p> {
    pub(super) fn new(payload: &'p [u8]) -> Self {
        Self(payload)
    }
}

impl<'p> Source<'p> for Postcard<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], DecodeError> {
        take_from(&mut self.0, count)
    }

    fn left(&self) -> usize {
        self.0.len()
    }

    fn unsigned(&mut self, bits: u32) -> Result<u128, DecodeError> {
        let mut number = 0;
        for shift in (0..bits).step_by(7) {
            let byte = self.byte()?;
            let part = u128::from(byte & 0x7f);
            // The last byte has the bits that are left.
            if bits - shift < 7 && part >> (bits - shift) != 0 {
                break;
            }
            number |= part << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(damaged("an integer"))
    }

    /// A character is a text.
    fn char(&mut self) -> Result<char, DecodeError> {
        let mut chars = self.text()?.chars();
        match (chars.next(), chars.next()) {
            (Some(char), None) => Ok(char),
            (None | Some(_), _) => Err(damaged("a character")),
        }
    }
}
