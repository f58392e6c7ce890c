//! Entries: typed values in memory, with what decides whether they still count.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::ser;

use crate::clock::Moment;
use crate::fence::Stripe;
use crate::record::Etag;

/// Bytes of an entry's own fields and of the reference counts before its value.
const OVERHEAD: usize = size_of::<Entry>() + 2 * size_of::<usize>();

/// A value in memory, of any type. A hit clones it out of the engine: the fields before the value are what it needs to
/// judge, so that one reference count is all it touches.
#[derive(Clone)]
pub(crate) struct Entry {
    /// The fence's number when the load of this value began.
    pub(crate) start: u64,
    /// When the value is dead.
    pub(crate) dies: Moment,
    /// What it counts against a bound in bytes: key, value and this header.
    pub(crate) weight: u32,
    /// Where its key's fence is, and above that what it is good for: in one word, since a hit copies it.
    stripe_and_kind: u32,
    value: Held,
}

/// A value, as long as it counts.
const PLAIN: u32 = 0;

/// The same, as a strong call found it: the value is [`Sealed`].
const SEALED: u32 = 1 << 16;

/// It was loaded while a lower tier could not be asked: a stopgap until it can.
const STOPGAP: u32 = 2 << 16;

/// A value that a strong call found.
struct Sealed {
    /// The place of the tier and the etag of the record, by which the record is recognized without being read.
    record: Option<(usize, Etag)>,
    /// The fence's number when the answer was there. Loads that began before may have read an older value.
    answered: u64,
    value: Held,
}

/// A value behind a shared pointer, its type forgotten. A function that returns `Arc<T>` has the `T` in here itself.
pub(crate) type Held = Arc<dyn Any + Send + Sync>;

impl Entry {
    /// `weight` is that of key and value; a value over 4 GiB counts as 4 GiB.
    pub(crate) fn new(
        value: Held,
        start: u64,
        stripe: Stripe,
        dies: Moment,
        weight: usize,
    ) -> Self {
        let weight = u32::try_from(weight.saturating_add(OVERHEAD)).unwrap_or(u32::MAX);
        Self {
            start,
            dies,
            weight,
            stripe_and_kind: u32::from(stripe.number()) | PLAIN,
            value,
        }
    }

    /// The same, as a strong call found it, which was answered at the fence's number `answered`.
    pub(crate) fn sealed(mut self, record: Option<(usize, Etag)>, answered: u64) -> Self {
        self.value = Arc::new(Sealed {
            record,
            answered,
            value: self.value,
        });
        self.stripe_and_kind |= SEALED;
        self
    }

    /// The same, for as long as the lower tiers cannot be asked.
    pub(crate) fn stopgap(mut self) -> Self {
        self.stripe_and_kind |= STOPGAP;
        self
    }

    /// Returns `true` if `other` must not replace it, since that may be the older value: its load began before this
    /// one's or, if a strong call found this value, before that call was answered.
    pub(crate) fn is_newer_than(&self, other: &Self, now: Moment) -> bool {
        self.known_from() > other.start && self.dies > now
    }

    /// The number from which on no load reads an older value.
    pub(crate) fn known_from(&self) -> u64 {
        match self.value.downcast_ref::<Sealed>() {
            Some(sealed) => sealed.answered,
            None => self.start,
        }
    }

    /// The value; of a stopgap only where the lower tiers cannot be asked.
    #[inline]
    pub(crate) fn into_value(self, is_isolated: bool) -> Option<Held> {
        match self.stripe_and_kind & (SEALED | STOPGAP) {
            PLAIN => Some(self.value),
            SEALED => Some(self.into_sealed().1),
            _ => is_isolated.then_some(self.value),
        }
    }

    /// Where its key's fence is.
    #[inline]
    pub(crate) fn stripe(&self) -> Stripe {
        Stripe::numbered(self.stripe_and_kind as u16)
    }

    /// The etag of the record it was read from, if it is known, and the value.
    #[cold]
    pub(crate) fn into_sealed(self) -> (Option<(usize, Etag)>, Held) {
        match self.value.downcast_ref::<Sealed>() {
            Some(sealed) => (sealed.record, Arc::clone(&sealed.value)),
            None => (None, self.value),
        }
    }
}

/// What a value takes in memory, in bytes, for a memory tier that is bounded by bytes.
///
/// Without it a value weighs its size on the stack plus, where it can be serialized, the texts and elements that serde
/// finds behind it. Implement it for types of which that is far off, such as compressed or shared data.
pub trait Weigh {
    /// Bytes that the value holds, itself included.
    fn weigh(&self) -> usize;
}

/// Estimates what `value` holds: its own size, and each text, byte string and element that serde meets.
pub(crate) fn weigh_by_serde<V: Serialize>(value: &V) -> usize {
    let mut scale = Scale::default();
    // A value that refuses to be serialized weighs what was met until then.
    let _ = value.serialize(&mut scale);
    size_of::<V>() + scale.bytes
}

/// Whether serde leaves a field of `value` out (`skip_serializing_if`), anywhere inside it.
pub(crate) fn skips_a_field<V: Serialize>(value: &V) -> bool {
    let mut scale = Scale::default();
    let _ = value.serialize(&mut scale);
    scale.skipped
}

/// Counts what lies behind pointers: texts, and the elements of sequences and maps with all they are made of. The fields
/// of the value itself are counted by its size.
#[derive(Default)]
struct Scale {
    bytes: usize,
    /// A field was left out.
    skipped: bool,
    /// Inside an element on the heap, where fields count as well.
    in_elements: bool,
}

impl Scale {
    fn field(&mut self, size: usize) {
        if self.in_elements {
            self.bytes += size;
        }
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

impl<'a> ser::Serializer for &'a mut Scale {
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

/// Elements on the heap.
struct Elements<'a> {
    scale: &'a mut Scale,
    nested: bool,
}

impl<'a> Elements<'a> {
    fn of(scale: &'a mut Scale) -> Self {
        scale.field(size_of::<Vec<u8>>());
        let nested = std::mem::replace(&mut scale.in_elements, true);
        Self { scale, nested }
    }

    fn element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), Refused> {
        value.serialize(&mut *self.scale)
    }
}

impl Drop for Elements<'_> {
    fn drop(&mut self) {
        self.scale.in_elements = self.nested;
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
            impl ser::$kind for &mut Scale {
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
    fn a_value_weighs_what_lies_behind_its_pointers() {
        assert_eq!(weigh_by_serde(&7u64), 8);
        assert_eq!(weigh_by_serde(&"abc".to_owned()), size_of::<String>() + 3);
        assert_eq!(weigh_by_serde(&vec![1u32, 2]), size_of::<Vec<u32>>() + 8);
        let nested = vec!["ab".to_owned(), "c".to_owned()];
        assert_eq!(
            weigh_by_serde(&nested),
            size_of::<Vec<String>>() + 2 * size_of::<String>() + 3
        );
    }

    #[test]
    fn the_header_of_an_entry_is_small() {
        const { assert!(OVERHEAD <= 64) };
    }
}
