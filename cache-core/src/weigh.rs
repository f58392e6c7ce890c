//! The size of a value in memory, estimated by serde.

use std::fmt;

use serde::Serialize;
use serde::ser;

/// The size of a value in memory, for a memory tier with a capacity in bytes.
///
/// By default the size of a value is its size on the stack and, if it implements `Serialize`, the
/// texts and elements that serde finds behind it. Implement `Weigh` for types for which that is far
/// off, such as compressed or shared data.
pub trait Weigh {
    /// Returns the size of the value in bytes, itself included.
    fn weigh(&self) -> usize;
}

/// Estimates the size of a value: its own size, and that of each text, byte string and element that
/// serde visits.
pub(crate) fn weigh_by_serde<V: Serialize>(value: &V) -> usize {
    let mut counter = SizeCounter::default();
    // If the value cannot be serialized, the size of the parts that were visited is returned.
    let _ = value.serialize(&mut counter);
    size_of::<V>() + counter.bytes
}

/// Returns `true` if serde skips a field of the value, or a field inside it
/// (`skip_serializing_if`).
pub(crate) fn skips_a_field<V: Serialize>(value: &V) -> bool {
    let mut counter = SizeCounter::default();
    let _ = value.serialize(&mut counter);
    counter.skipped
}

/// A serializer that adds up the sizes behind pointers: those of texts, and of the elements of
/// sequences and maps with all their parts. The fields of the value itself are part of its own
/// size.
#[derive(Default)]
struct SizeCounter {
    bytes: usize,
    /// Set if a field was skipped.
    skipped: bool,
    /// Set inside an element on the heap, where the fields are added up too.
    in_elements: bool,
}

impl SizeCounter {
    /// Counts the text of a value, whose formatting may fail.
    #[inline(never)]
    fn text(&mut self, value: fmt::Arguments<'_>) -> Result<(), Refused> {
        fmt::write(self, value).map_err(|_| Refused)
    }

    fn field(&mut self, size: usize) {
        if self.in_elements {
            self.bytes += size;
        }
    }
}

impl fmt::Write for SizeCounter {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes += text.len();
        Ok(())
    }
}

#[derive(Debug)]
struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the value refused to be serialized")
    }
}

impl std::error::Error for Refused {}

impl ser::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self
    }
}

macro_rules! scalars {
    ($($method:ident($($kind:ty)?);)*) => {
        $(
            fn $method(self, $(_: $kind)?) -> Result<(), Refused> {
                self.field(0 $(+ size_of::<$kind>())?);
                Ok(())
            }
        )*
    };
}

impl<'a> ser::Serializer for &'a mut SizeCounter {
    type Ok = ();
    type Error = Refused;
    type SerializeSeq = Elements<'a>;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Elements<'a>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    scalars! {
        serialize_bool(bool);
        serialize_i8(i8);
        serialize_i16(i16);
        serialize_i32(i32);
        serialize_i64(i64);
        serialize_i128(i128);
        serialize_u8(u8);
        serialize_u16(u16);
        serialize_u32(u32);
        serialize_u64(u64);
        serialize_u128(u128);
        serialize_f32(f32);
        serialize_f64(f64);
        serialize_char(char);
        serialize_unit();
        serialize_none();
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), Refused> {
        Ok(())
    }

    fn serialize_unit_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
    ) -> Result<(), Refused> {
        self.field(1);
        Ok(())
    }

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_str(self, text: &str) -> Result<(), Refused> {
        self.field(size_of::<String>());
        self.bytes += text.len();
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), Refused> {
        self.field(size_of::<String>());
        self.text(format_args!("{value}"))
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Result<(), Refused> {
        self.field(size_of::<Vec<u8>>());
        self.bytes += bytes.len();
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), Refused> {
        value.serialize(self)
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Elements<'a>, Refused> {
        Ok(Elements::of(self))
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Elements<'a>, Refused> {
        Ok(Elements::of(self))
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Refused> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, Refused> {
        Ok(self)
    }
}

/// The elements of a sequence or a map, which are on the heap.
struct Elements<'a> {
    counter: &'a mut SizeCounter,
    nested: bool,
}

impl<'a> Elements<'a> {
    fn of(counter: &'a mut SizeCounter) -> Self {
        counter.field(size_of::<Vec<u8>>());
        let nested = std::mem::replace(&mut counter.in_elements, true);
        Self { counter, nested }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.counter)
    }
}

impl Drop for Elements<'_> {
    fn drop(&mut self) {
        self.counter.in_elements = self.nested;
    }
}

impl ser::SerializeSeq for Elements<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.element(value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

impl ser::SerializeMap for Elements<'_> {
    type Ok = ();
    type Error = Refused;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), Refused> {
        self.element(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        self.element(value)
    }

    fn end(self) -> Result<(), Refused> {
        Ok(())
    }
}

macro_rules! fields {
    ($($kind:ident::$method:ident($($name:ty)?) $($skip:ident)?;)*) => {
        $(
            impl ser::$kind for &mut SizeCounter {
                type Ok = ();
                type Error = Refused;

                fn $method<T: Serialize + ?Sized>(
                    &mut self,
                    $(_: $name,)?
                    value: &T,
                ) -> Result<(), Refused> {
                    value.serialize(&mut **self)
                }

                $(
                    fn $skip(&mut self, _: &'static str) -> Result<(), Refused> {
                        self.skipped = true;
                        Ok(())
                    }
                )?

                fn end(self) -> Result<(), Refused> {
                    Ok(())
                }
            }
        )*
    };
}

fields! {
    SerializeTuple::serialize_element();
    SerializeTupleStruct::serialize_field();
    SerializeTupleVariant::serialize_field();
    SerializeStruct::serialize_field(&'static str) skip_field;
    SerializeStructVariant::serialize_field(&'static str) skip_field;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weight_of_a_value_includes_texts_and_elements_on_the_heap() {
        assert_eq!(weigh_by_serde(&7u64), 8);
        assert_eq!(weigh_by_serde(&"abc".to_owned()), size_of::<String>() + 3);
        assert_eq!(weigh_by_serde(&vec![1u32, 2]), size_of::<Vec<u32>>() + 8);
        let nested = vec!["ab".to_owned(), "c".to_owned()];
        assert_eq!(
            weigh_by_serde(&nested),
            size_of::<Vec<String>>() + 2 * size_of::<String>() + 3
        );
    }
}
