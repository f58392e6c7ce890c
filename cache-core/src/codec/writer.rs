//! How a value is written as a record in postcard's format.
//!
//! serde compiles the code of a value type once more for each serializer that it meets. So that
//! this code is small, the functions that do not depend on the type are not generic and are not
//! inlined: they are compiled once, in this crate.

use std::fmt;

use serde::ser::{self, Serialize};

/// Appends values to a record.
pub(super) struct Writer<'a> {
    out: &'a mut Vec<u8>,
}

type Written = Result<(), postcard::Error>;

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut Vec<u8>) -> Self {
        Self { out }
    }

    /// Writes a value that has no parts.
    fn put<T: Serialize + ?Sized>(&mut self, value: &T) -> Written {
        postcard::to_io(value, &mut *self.out).map(drop)
    }

    /// Writes the length of a sequence or a map.
    #[inline(never)]
    fn put_len(&mut self, len: Option<usize>) -> Written {
        let len = len.ok_or(postcard::Error::SerializeSeqLengthUnknown)?;
        self.put(&(len as u64))
    }

    #[inline(never)]
    fn put_text(&mut self, value: &str) -> Written {
        self.put(value)
    }

    /// Writes the text of a value. Formatting may fail, as it does for a date format that is wrong.
    #[inline(never)]
    fn put_display(&mut self, value: fmt::Arguments<'_>) -> Written {
        let mut text = String::new();
        fmt::write(&mut text, value).map_err(|_| postcard::Error::CollectStrError)?;
        self.put_text(&text)
    }

    #[inline(never)]
    fn put_bytes(&mut self, value: &[u8]) -> Written {
        self.put_len(Some(value.len()))?;
        self.out.extend_from_slice(value);
        Ok(())
    }
}

macro_rules! scalars {
    ($($method:ident => $put:ident($kind:ty);)*) => {
        impl Writer<'_> {
            $(
                #[inline(never)]
                fn $put(&mut self, value: $kind) -> Written {
                    self.put(&value)
                }
            )*
        }

        macro_rules! serialize_scalars {
            () => {
                $(
                    fn $method(self, value: $kind) -> Written {
                        self.$put(value)
                    }
                )*
            };
        }
    };
}

scalars! {
    serialize_i16 => put_i16(i16);
    serialize_i32 => put_i32(i32);
    serialize_i64 => put_i64(i64);
    serialize_i128 => put_i128(i128);
    serialize_u16 => put_u16(u16);
    serialize_u32 => put_u32(u32);
    serialize_u64 => put_u64(u64);
    serialize_u128 => put_u128(u128);
    serialize_f32 => put_f32(f32);
    serialize_f64 => put_f64(f64);
    serialize_char => put_char(char);
}

impl ser::Serializer for &mut Writer<'_> {
    type Ok = ();
    type Error = postcard::Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    serialize_scalars! {}

    // Byte strings that are not marked as such are written by this, so it is inlined.
    #[inline]
    fn serialize_u8(self, value: u8) -> Written {
        self.out.push(value);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Written {
        self.serialize_u8(value.to_le_bytes()[0])
    }

    fn serialize_bool(self, value: bool) -> Written {
        self.serialize_u8(u8::from(value))
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_str(self, value: &str) -> Written {
        self.put_text(value)
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Written {
        self.put_display(format_args!("{value}"))
    }

    fn serialize_bytes(self, value: &[u8]) -> Written {
        self.put_bytes(value)
    }

    fn serialize_none(self) -> Written {
        self.serialize_u8(0)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Written {
        self.serialize_u8(1)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Written {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Written {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Written {
        self.put_u32(index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Written {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Written {
        self.put_u32(index)?;
        value.serialize(self)
    }

    fn serialize_seq(self, len: Option<usize>) -> Result<Self, postcard::Error> {
        self.put_len(len)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, postcard::Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, postcard::Error> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, postcard::Error> {
        self.put_u32(index)?;
        Ok(self)
    }

    fn serialize_map(self, len: Option<usize>) -> Result<Self, postcard::Error> {
        self.put_len(len)?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, postcard::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, postcard::Error> {
        self.put_u32(index)?;
        Ok(self)
    }
}

macro_rules! parts {
    ($($kind:ident { $($method:ident($($name:ty)?)),* })*) => {
        $(
            impl ser::$kind for &mut Writer<'_> {
                type Ok = ();
                type Error = postcard::Error;

                $(
                    fn $method<T: Serialize + ?Sized>(
                        &mut self,
                        $(_: $name,)?
                        value: &T,
                    ) -> Written {
                        value.serialize(&mut **self)
                    }
                )*

                fn end(self) -> Written {
                    Ok(())
                }
            }
        )*
    };
}

parts! {
    SerializeSeq { serialize_element() }
    SerializeTuple { serialize_element() }
    SerializeTupleStruct { serialize_field() }
    SerializeTupleVariant { serialize_field() }
    SerializeMap { serialize_key(), serialize_value() }
    SerializeStruct { serialize_field(&'static str) }
    SerializeStructVariant { serialize_field(&'static str) }
}
