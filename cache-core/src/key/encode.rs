//! Encodes arguments: every value of serde's data model, with its tag.

use std::fmt;

use serde::ser::{self, Serialize};

use super::arguments::Arguments;
use super::tag;

/// Writes values into [`Arguments`]. Numbers are little-endian on every machine.
pub(super) struct Encoder<'a> {
    out: &'a mut Arguments,
}

impl<'a> Encoder<'a> {
    #[inline]
    pub(super) fn new(out: &'a mut Arguments) -> Self {
        Self { out }
    }

    #[inline]
    fn variant(&mut self, name: &str) {
        self.out.text(tag::VARIANT, name.as_bytes());
    }
}

/// A `Serialize` implementation refused its value.
#[derive(Debug)]
pub struct Refused(String);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }
}

macro_rules! numbers {
    ($($method:ident: $number:ty => $tag:ident;)*) => {
        $(
            #[inline]
            fn $method(self, value: $number) -> Result<(), Refused> {
                self.out.number(tag::$tag, value.to_le_bytes());
                Ok(())
            }
        )*
    };
}

impl<'e, 'a> ser::Serializer for &'e mut Encoder<'a> {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = SortedMap<'e, 'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    numbers! {
        serialize_i8: i8 => I8;
        serialize_i16: i16 => I16;
        serialize_i32: i32 => I32;
        serialize_i64: i64 => I64;
        serialize_u8: u8 => U8;
        serialize_u16: u16 => U16;
        serialize_u32: u32 => U32;
        serialize_u64: u64 => U64;
        serialize_f32: f32 => F32;
        serialize_f64: f64 => F64;
    }

    fn serialize_i128(self, value: i128) -> Result<(), Refused> {
        self.out.tag(tag::I128);
        self.out.wide(value.to_le_bytes());
        Ok(())
    }

    fn serialize_u128(self, value: u128) -> Result<(), Refused> {
        self.out.tag(tag::U128);
        self.out.wide(value.to_le_bytes());
        Ok(())
    }

    /// Chooses the compact form of addresses, UUIDs and similar types, because they are encoded on
    /// every hit.
    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), Refused> {
        self.out.tag(if value { tag::TRUE } else { tag::FALSE });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), Refused> {
        self.out.number(tag::CHAR, u32::from(value).to_le_bytes());
        Ok(())
    }

    #[inline]
    fn serialize_str(self, value: &str) -> Result<(), Refused> {
        self.out.text(tag::STR, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), Refused> {
        self.out.text(tag::BYTES, value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), Refused> {
        self.out.tag(tag::NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.out.tag(tag::SOME);
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), Refused> {
        self.out.tag(tag::UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), Refused> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
    ) -> Result<(), Refused> {
        self.variant(variant);
        self.serialize_unit()
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        self.variant(variant);
        value.serialize(self)
    }

    #[inline]
    fn serialize_seq(self, _len: Option<usize>) -> Result<Self, Refused> {
        self.out.open(tag::SEQUENCE);
        Ok(self)
    }

    #[inline]
    fn serialize_tuple(self, len: usize) -> Result<Self, Refused> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_struct(self, _name: &'static str, len: usize) -> Result<Self, Refused> {
        self.serialize_seq(Some(len))
    }

    fn serialize_tuple_variant(
        self,
        _name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self, Refused> {
        self.variant(variant);
        self.serialize_seq(Some(len))
    }

    fn serialize_map(self, _len: Option<usize>) -> Result<SortedMap<'e, 'a>, Refused> {
        Ok(SortedMap {
            encoder: self,
            entries: Vec::new(),
        })
    }

    fn serialize_struct(self, _name: &'static str, _len: usize) -> Result<Self, Refused> {
        self.out.tag(tag::STRUCT);
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        _index: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self, Refused> {
        self.variant(variant);
        self.serialize_struct(name, len)
    }
}

macro_rules! sequences {
    ($($kind:ident::$method:ident),*) => {
        $(
            impl ser::$kind for &mut Encoder<'_> {
                type Ok = ();
                type Error = Refused;

                #[inline]
                fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
                    value.serialize(&mut **self)
                }

                #[inline]
                fn end(self) -> Result<(), Refused> {
                    self.out.tag(tag::END);
                    Ok(())
                }
            }
        )*
    };
}

sequences! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field
}

macro_rules! structs {
    ($($kind:ident),*) => {
        $(
            impl ser::$kind for &mut Encoder<'_> {
                type Ok = ();
                type Error = Refused;

                /// Writes the name too. Without it a value whose first field is skipped and one
                /// whose second field is skipped could have the same bytes.
                fn serialize_field<T: Serialize + ?Sized>(
                    &mut self,
                    name: &'static str,
                    value: &T,
                ) -> Result<(), Refused> {
                    self.out.text(tag::STR, name.as_bytes());
                    value.serialize(&mut **self)
                }

                fn end(self) -> Result<(), Refused> {
                    self.out.tag(tag::END);
                    Ok(())
                }
            }
        )*
    };
}

structs!(SerializeStruct, SerializeStructVariant);

/// Collects the entries of a map and sorts them, because equal maps must have equal keys in
/// whatever order they iterate.
pub(super) struct SortedMap<'e, 'a> {
    encoder: &'e mut Encoder<'a>,
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

fn encode_apart<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Refused> {
    let mut apart = Arguments::empty(0);
    value.serialize(&mut Encoder::new(&mut apart))?;
    Ok(apart.as_bytes().to_vec())
}

impl ser::SerializeMap for SortedMap<'_, '_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.entries.push((encode_apart(key)?, Vec::new()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        let value = encode_apart(value)?;
        let entry = self
            .entries
            .last_mut()
            .ok_or_else(|| Refused("a map has a value without a key".into()))?;
        entry.1 = value;
        Ok(())
    }

    fn end(mut self) -> Result<(), Refused> {
        self.entries.sort_unstable();
        self.encoder.out.tag(tag::MAP);
        for (key, value) in &self.entries {
            self.encoder.out.encoded(key);
            self.encoder.out.encoded(value);
        }
        self.encoder.out.tag(tag::END);
        Ok(())
    }
}
