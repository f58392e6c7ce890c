//! How serde asks a [`Reader`]. This is compiled for each value type, so it does nothing but call
//! it.

use std::any::type_name;

use serde::de::{self, DeserializeSeed, Visitor};

use super::draft::{Heading, Parts};
use super::reader::{ReadError, Reader};

macro_rules! scalars {
    ($($method:ident => $visit:ident($read:ident);)*) => {
        $(
            fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
                visitor.$visit(self.$read()?)
            }
        )*
    };
}

impl<'de, 'a, 't> de::Deserializer<'de> for &'a mut Reader<'de, 't> {
    type Error = ReadError;

    scalars! {
        deserialize_bool => visit_bool(bool);
        deserialize_i8 => visit_i8(i8);
        deserialize_i16 => visit_i16(i16);
        deserialize_i32 => visit_i32(i32);
        deserialize_i64 => visit_i64(i64);
        deserialize_i128 => visit_i128(i128);
        deserialize_u8 => visit_u8(u8);
        deserialize_u16 => visit_u16(u16);
        deserialize_u32 => visit_u32(u32);
        deserialize_u64 => visit_u64(u64);
        deserialize_u128 => visit_u128(u128);
        deserialize_f32 => visit_f32(f32);
        deserialize_f64 => visit_f64(f64);
        deserialize_char => visit_char(char);
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
        if !self.is_some()? {
            return visitor.visit_none();
        }
        self.enter()?;
        let value = visitor.visit_some(&mut *self);
        self.leave();
        value
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        self.note_unit();
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.note_unit_struct(name);
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let opened = self.open(type_name::<V::Value>(), name, &["0"], Heading::Newtype)?;
        let value = visitor.visit_newtype_struct(&mut *self);
        self.close(opened);
        value
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.elements(Parts::Seq)?;
        visitor.visit_seq(Elements::of(self, left)?)
    }

    fn deserialize_tuple<V: Visitor<'de>>(
        self,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.note_tuple(len);
        visitor.visit_seq(Elements::of(self, len)?)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        len: usize,
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let kind = Heading::Tuple(len);
        let opened = self.open(type_name::<V::Value>(), name, &["0", "1"], kind)?;
        let elements = Elements::of(&mut *self, len);
        let value = elements.and_then(|elements| visitor.visit_seq(elements));
        self.close(opened);
        value
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, ReadError> {
        let left = self.elements(Parts::Map)?;
        visitor.visit_map(Elements::of(self, left)?)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        let opened = self.open(type_name::<V::Value>(), name, fields, Heading::Struct)?;
        let elements = Elements::of(&mut *self, fields.len());
        let value = elements.and_then(|elements| visitor.visit_seq(elements));
        self.close(opened);
        value
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
        });
        self.close(opened);
        value
    }
}

/// The elements of a sequence, the entries of a map, or the fields of a struct.
struct Elements<'a, 'de, 't> {
    reader: &'a mut Reader<'de, 't>,
    left: usize,
}

impl<'a, 'de, 't> Elements<'a, 'de, 't> {
    #[inline(never)]
    fn of(reader: &'a mut Reader<'de, 't>, left: usize) -> Result<Self, ReadError> {
        reader.enter()?;
        Ok(Self { reader, left })
    }

    fn next<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, ReadError> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        seed.deserialize(&mut *self.reader).map(Some)
    }
}

impl Drop for Elements<'_, '_, '_> {
    #[inline(never)]
    fn drop(&mut self) {
        self.reader.leave();
    }
}

impl<'de> de::SeqAccess<'de> for Elements<'_, 'de, '_> {
    type Error = ReadError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        self.next(seed)
    }

    /// The length comes from the record. A length that the bytes cannot hold is no hint, because a
    /// type may allocate by it.
    fn size_hint(&self) -> Option<usize> {
        self.reader.may_hold(self.left).then_some(self.left)
    }
}

impl<'de> de::MapAccess<'de> for Elements<'_, 'de, '_> {
    type Error = ReadError;

    fn next_key_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, ReadError> {
        self.next(seed)
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
        self.note_unit_variant();
        Ok(())
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, ReadError> {
        seed.deserialize(self)
    }

    fn tuple_variant<V: Visitor<'de>>(self, len: usize, visitor: V) -> Result<V::Value, ReadError> {
        self.note_tuple_variant(len);
        visitor.visit_seq(Elements::of(self, len)?)
    }

    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, ReadError> {
        self.note_fields(fields);
        visitor.visit_seq(Elements::of(self, fields.len())?)
    }
}
