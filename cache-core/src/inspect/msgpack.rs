//! The format of MessagePack, which describes itself.

use serde_json::{Map, Value};

use super::decoder::{Budget, as_key, take_from};
use super::error::DecodeError;

/// Decodes one value, after which nothing may follow.
pub(super) fn decode(payload: &[u8], budget: Budget) -> Result<Value, DecodeError> {
    let mut reader = Reader {
        rest: payload,
        budget,
    };
    let value = reader.value()?;
    match reader.rest.len() {
        0 => Ok(value),
        left => Err(DecodeError::new(format!("{left} bytes follow the value"))),
    }
}

struct Reader<'p> {
    rest: &'p [u8],
    budget: Budget,
}

impl<'p> Reader<'p> {
    fn take(&mut self, count: usize) -> Result<&'p [u8], DecodeError> {
        take_from(&mut self.rest, count)
    }

    /// Reads an unsigned integer of so many bytes, the highest first.
    fn unsigned(&mut self, width: usize) -> Result<u64, DecodeError> {
        let bytes = self.take(width)?.iter();
        Ok(bytes.fold(0, |number, byte| number << 8 | u64::from(*byte)))
    }

    /// Reads a signed integer of so many bytes.
    fn signed(&mut self, width: u32) -> Result<i64, DecodeError> {
        let unused = u64::BITS - width * 8;
        let number = self.unsigned(width as usize)? << unused;
        Ok(number.cast_signed() >> unused)
    }

    /// Reads a length of so many bytes.
    fn len(&mut self, width: usize) -> Result<usize, DecodeError> {
        let len = self.unsigned(width)?;
        usize::try_from(len).map_err(|_| DecodeError::new("the payload is no MessagePack"))
    }

    fn value(&mut self) -> Result<Value, DecodeError> {
        self.budget.value()?;
        let marker = self.unsigned(1)? as u8;
        Ok(match marker {
            0x00..=0x7f => marker.into(),
            0xe0..=0xff => marker.cast_signed().into(),
            0xc0 => Value::Null,
            0xc2 | 0xc3 => (marker == 0xc3).into(),
            // The lowest bits of the markers are the widths, as powers of two.
            0xcc..=0xcf => self.unsigned(1 << (marker - 0xcc))?.into(),
            0xd0..=0xd3 => self.signed(1 << (marker - 0xd0))?.into(),
            0xca => f32::from_bits(self.unsigned(4)? as u32).into(),
            0xcb => f64::from_bits(self.unsigned(8)?).into(),
            0xa0..=0xbf => self.text(usize::from(marker & 0x1f))?,
            0xd9..=0xdb => {
                let len = self.len(1 << (marker - 0xd9))?;
                self.text(len)?
            }
            0xc4..=0xc6 => {
                let len = self.len(1 << (marker - 0xc4))?;
                let bytes = self.take(len)?;
                self.budget.bytes(bytes)?;
                bytes.into()
            }
            0x90..=0x9f => self.array(usize::from(marker & 0x0f))?,
            0xdc | 0xdd => {
                let len = self.len(2 << (marker - 0xdc))?;
                self.array(len)?
            }
            0x80..=0x8f => self.map(usize::from(marker & 0x0f))?,
            0xde | 0xdf => {
                let len = self.len(2 << (marker - 0xde))?;
                self.map(len)?
            }
            0xc1 | 0xc7..=0xc9 | 0xd4..=0xd8 => {
                return Err(DecodeError::new(
                    "the payload has an extension of MessagePack",
                ));
            }
        })
    }

    fn text(&mut self, len: usize) -> Result<Value, DecodeError> {
        let text = std::str::from_utf8(self.take(len)?);
        let text = text.map_err(|_| DecodeError::new("a text of the payload is no UTF-8"))?;
        self.budget.text(text)?;
        Ok(text.into())
    }

    fn array(&mut self, len: usize) -> Result<Value, DecodeError> {
        self.budget.enter()?;
        // Each element takes a byte at least, so that this ends.
        let elements: Result<_, _> = (0..len).map(|_| self.value()).collect();
        self.budget.leave();
        Ok(Value::Array(elements?))
    }

    fn map(&mut self, len: usize) -> Result<Value, DecodeError> {
        self.budget.enter()?;
        let mut entries = Map::new();
        for _ in 0..len {
            let key = as_key(self.value()?);
            self.budget.entry(entries.len(), &key)?;
            let value = self.value()?;
            entries.insert(key, value);
        }
        self.budget.leave();
        Ok(Value::Object(entries))
    }
}
