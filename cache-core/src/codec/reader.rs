//! What a value type reads: from a record in postcard's format or, to find its shape, from made-up
//! answers.
//!
//! Both are one [`Deserializer`](de::Deserializer), because serde compiles the code of a value type
//! once more for each deserializer that it meets. For the same reason the functions that do not
//! depend on the type are not generic and are not inlined: they are compiled once, in this crate.

use std::any::type_name;
use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeSeed, Visitor};

use super::tracer::{Opened, Tracer};

/// Answers the questions of a value type, in the order in which it asks them.
pub(super) struct Reader<'de, 't> {
    /// The part of the record that is not read yet.
    rest: &'de [u8],
    /// `Some` if answers are made up.
    tracer: Option<&'t mut Tracer>,
}

impl<'de, 't> Reader<'de, 't> {
    /// Reads a record.
    pub(super) fn record(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            tracer: None,
        }
    }

    /// Makes up the answers, and has `tracer` note the questions.
    pub(super) fn traced(tracer: &'t mut Tracer) -> Self {
        Self {
            rest: &[],
            tracer: Some(tracer),
        }
    }

    /// Returns the number of bytes that were not read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads a value that has no parts.
    fn take<T: Deserialize<'de>>(&mut self) -> Result<T, ReadError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(ReadError::Record)?;
        self.rest = rest;
        Ok(value)
    }

    /// Reads the length of a sequence or a map.
    fn take_len(&mut self) -> Result<usize, ReadError> {
        let len: u64 = self.take()?;
        usize::try_from(len)
            .map_err(|_| ReadError::Record(postcard::Error::DeserializeUnexpectedEnd))
    }

    #[inline(never)]
    fn text(&mut self) -> Result<&'de str, ReadError> {
        match &mut self.tracer {
            None => self.take(),
            Some(tracer) => {
                tracer.note("str");
                Ok(tracer.next_text())
            }
        }
    }

    #[inline(never)]
    fn bytes(&mut self) -> Result<&'de [u8], ReadError> {
        match &mut self.tracer {
            None => self.take(),
            Some(tracer) => {
                tracer.note("bytes");
                // A UUID asks for 16 bytes. A type that takes any number takes 16 too.
                Ok(&[0; 16])
            }
        }
    }

    /// Returns `true` if an optional value is there.
    #[inline(never)]
    fn is_some(&mut self) -> Result<bool, ReadError> {
        let Some(tracer) = &mut self.tracer else {
            // Its encoding is that of a `bool`, and an error says which of the two it was.
            return match self.rest.split_first() {
                Some((flag @ (0 | 1), rest)) => {
                    self.rest = rest;
                    Ok(*flag == 1)
                }
                Some(_) => Err(ReadError::Record(postcard::Error::DeserializeBadOption)),
                None => Err(ReadError::Record(postcard::Error::DeserializeUnexpectedEnd)),
            };
        };
        tracer.note("option");
        // Without this a list linked through `Option<Box<Self>>` would never end.
        Ok(!tracer.is_silent())
    }

    /// Returns the number of elements of a sequence or of entries of a map.
    #[inline(never)]
    fn elements(&mut self, kind: &str) -> Result<usize, ReadError> {
        match &mut self.tracer {
            None => self.take_len(),
            Some(tracer) => {
                tracer.note(kind);
                Ok(usize::from(!tracer.is_silent()))
            }
        }
    }

    #[inline(never)]
    fn note(&mut self, kind: &str) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note(kind);
        }
    }

    #[inline(never)]
    fn note_tuple(&mut self, len: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note(&format!("tuple{len}"));
        }
    }

    /// Begins a struct. `kind` is the heading of its description.
    #[inline(never)]
    fn open(
        &mut self,
        rust_type: &'static str,
        name: &'static str,
        fields: &'static [&'static str],
        kind: fmt::Arguments<'_>,
    ) -> Result<Option<Opened>, ReadError> {
        match &mut self.tracer {
            None => Ok(None),
            Some(tracer) => match tracer.open((rust_type, name, fields), kind) {
                None => Err(ReadError::Unsupported),
                opened => Ok(opened),
            },
        }
    }

    /// Begins an enum, and returns the number of its variant.
    #[inline(never)]
    fn open_enum(
        &mut self,
        rust_type: &'static str,
        name: &'static str,
        variants: &'static [&'static str],
    ) -> Result<(u32, Option<Opened>), ReadError> {
        match &mut self.tracer {
            None => Ok((self.take()?, None)),
            Some(tracer) => {
                let (index, opened) = tracer
                    .open_enum((rust_type, name, variants))
                    .ok_or(ReadError::Unsupported)?;
                Ok((u32::try_from(index).unwrap_or(u32::MAX), Some(opened)))
            }
        }
    }

    /// Ends a struct or an enum.
    #[inline(never)]
    fn close(&mut self, opened: Option<Opened>) {
        if let (Some(tracer), Some(opened)) = (&mut self.tracer, opened) {
            tracer.close(opened);
        }
    }

    #[cold]
    fn unsupported(&self) -> ReadError {
        match self.tracer {
            None => ReadError::Record(postcard::Error::WontImplement),
            Some(_) => ReadError::Unsupported,
        }
    }
}

/// A value could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The bytes are no record of the type.
    Record(postcard::Error),
    /// The type refused a part that was read or made up.
    Refused,
    /// The type asks what the bytes are, and there are none.
    Unsupported,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Refused => f.write_str("the type refused a part of the value"),
            Self::Unsupported => f.write_str("the shape of the type cannot be traced"),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    #[cold]
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

macro_rules! scalars {
    ($($method:ident => $read:ident, $visit:ident, $made_up:literal, $kind:ident;)*) => {
        impl Reader<'_, '_> {
            $(
                #[inline(never)]
                fn $read(&mut self) -> Result<$kind, ReadError> {
                    match &mut self.tracer {
                        None => self.take(),
                        Some(tracer) => {
                            tracer.note(stringify!($kind));
                            Ok($made_up)
                        }
                    }
                }
            )*
        }

        macro_rules! deserialize_scalars {
            () => {
                $(
                    fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
                        visitor.$visit(self.$read()?)
                    }
                )*
            };
        }
    };
}

scalars! {
    deserialize_bool => bool, visit_bool, false, bool;
    deserialize_i8 => i8, visit_i8, 1, i8;
    deserialize_i16 => i16, visit_i16, 1, i16;
    deserialize_i32 => i32, visit_i32, 1, i32;
    deserialize_i64 => i64, visit_i64, 1, i64;
    deserialize_i128 => i128, visit_i128, 1, i128;
    deserialize_u16 => u16, visit_u16, 1, u16;
    deserialize_u32 => u32, visit_u32, 1, u32;
    deserialize_u64 => u64, visit_u64, 1, u64;
    deserialize_u128 => u128, visit_u128, 1, u128;
    deserialize_f32 => f32, visit_f32, 1.0, f32;
    deserialize_f64 => f64, visit_f64, 1.0, f64;
    deserialize_char => char, visit_char, 'a', char;
}

impl Reader<'_, '_> {
    /// Byte strings that are not marked as such are read by this, so the common case is inlined.
    #[inline]
    fn u8(&mut self) -> Result<u8, ReadError> {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                Ok(*byte)
            }
            None => self.u8_slow(),
        }
    }

    #[cold]
    fn u8_slow(&mut self) -> Result<u8, ReadError> {
        match &mut self.tracer {
            None => Err(ReadError::Record(postcard::Error::DeserializeUnexpectedEnd)),
            Some(tracer) => {
                tracer.note("u8");
                Ok(1)
            }
        }
    }
}

impl<'de, 'a, 't> de::Deserializer<'de> for &'a mut Reader<'de, 't> {
    type Error = ReadError;

    deserialize_scalars! {}

    fn deserialize_u8<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_u8(self.u8()?)
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ReadError> {
        Err(self.unsupported())
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ReadError> {
        Err(self.unsupported())
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, _: V) -> Result<V::Value, ReadError> {
        Err(self.unsupported())
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_borrowed_str(self.text()?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_str(self.text()?)
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_borrowed_bytes(self.bytes()?)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        visitor.visit_bytes(self.bytes()?)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        if self.is_some()? {
            visitor.visit_some(self)
        } else {
            visitor.visit_none()
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.note("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.note(name);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let kind = format_args!("newtype");
        let opened = self.open(type_name::<V::Value>(), name, &["0"], kind)?;
        let value = visitor.visit_newtype_struct(&mut *self)?;
        self.close(opened);
        Ok(value)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.elements("seq")?;
        visitor.visit_seq(Elements { reader: self, left })
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.note_tuple(len);
        visitor.visit_seq(Elements {
            reader: self,
            left: len,
        })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let kind = format_args!("tuple{len}");
        let opened = self.open(type_name::<V::Value>(), name, &["0", "1"], kind)?;
        let value = visitor.visit_seq(Elements {
            reader: &mut *self,
            left: len,
        })?;
        self.close(opened);
        Ok(value)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.elements("map")?;
        visitor.visit_map(Elements { reader: self, left })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let kind = format_args!("struct");
        let opened = self.open(type_name::<V::Value>(), name, fields, kind)?;
        let value = visitor.visit_seq(Elements {
            reader: &mut *self,
            left: fields.len(),
        })?;
        self.close(opened);
        Ok(value)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let (index, opened) = self.open_enum(type_name::<V::Value>(), name, variants)?;
        let value = visitor.visit_enum(Variant {
            reader: &mut *self,
            index,
        })?;
        self.close(opened);
        Ok(value)
    }
}

/// The elements of a sequence, the entries of a map, or the fields of a struct.
struct Elements<'a, 'de, 't> {
    reader: &'a mut Reader<'de, 't>,
    left: usize,
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    /// The length comes from the record. A length that the bytes cannot hold is no hint, because a
    /// type may allocate by it.
    fn size_hint(&self) -> Option<usize> {
        let is_possible = self.reader.tracer.is_some() || self.left <= self.reader.rest.len();
        is_possible.then_some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de, '_> {
    type Error = ReadError;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        de::SeqAccess::size_hint(self)
    }
}

/// One variant of an enum.
struct Variant<'a, 'de, 't> {
    reader: &'a mut Reader<'de, 't>,
    index: u32,
}

impl<'a, 'de, 't> de::EnumAccess<'de> for Variant<'a, 'de, 't> {
    type Error = ReadError;
    type Variant = &'a mut Reader<'de, 't>;

    fn variant_seed<T: DeserializeSeed<'de>>(
        self,
        seed: T,
    ) -> Result<(T::Value, Self::Variant), ReadError> {
        let which = seed.deserialize(de::value::U32Deserializer::<ReadError>::new(self.index))?;
        Ok((which, self.reader))
    }
}

impl<'de> de::VariantAccess<'de> for &mut Reader<'de, '_> {
    type Error = ReadError;

    fn unit_variant(self) -> Result<(), ReadError> {
        self.note("unit");
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        de::Deserializer::deserialize_tuple(self, len, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        for field in fields {
            self.note(field);
        }
        visitor.visit_seq(Elements {
            reader: self,
            left: fields.len(),
        })
    }
}
