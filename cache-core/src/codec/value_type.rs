//! Value types: the functions that the runtime calls on a value, with and without its type.

use std::any::{Any, TypeId};
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CodecError, Encoding, Shape, TracedType};
use crate::entry::Held;
use crate::error::{Error, ErrorKind};
use crate::weigh;

/// The functions of a value type: how its records are written and read, and how it is weighed.
///
/// [`shared`](Self::shared) requires serde of the type, [`memory_only`](Self::memory_only) does
/// not.
pub struct ValueType<V> {
    pub(crate) records: Option<RecordType<V>>,
    pub(crate) weigh: fn(&V) -> usize,
    /// Bytes behind a shared pointer, which `weigh` does not count.
    behind: usize,
    /// The type under which memory holds a value.
    held_as: fn() -> TypeId,
    pub(crate) hold: fn(V) -> Held,
    pub(crate) give: fn(Held) -> Option<V>,
    /// Passes the value to a function. At most a shared pointer is cloned for that.
    look: Look<V>,
}

type Look<V> = fn(&Held, &mut dyn FnMut(&V));

/// The part of a [`ValueType`] that only tiers with records need.
pub(crate) struct RecordType<V> {
    pub(crate) encode: fn(&Encoding, &V, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(crate) decode: fn(&Encoding, &[u8]) -> Result<V, CodecError>,
    pub(crate) traced: fn() -> TracedType,
    /// Returns `true` if serde leaves out a field of the value.
    pub(crate) skips: fn(&V) -> bool,
}

/// A [`ValueType`] without its type. The load path is compiled once, and calls the functions of a
/// value type through this trait.
pub(crate) trait ErasedType: Send + Sync {
    /// Returns `true` if the held value is of this type.
    fn is_of(&self, held: &Held) -> bool;

    /// Returns the bytes that the value takes in memory if they are `measured`, and otherwise its
    /// size on the stack.
    fn weight(&self, held: &Held, measured: bool) -> usize;

    /// Returns `true` if values of this type can be written as records. The functions below require
    /// that.
    fn has_records(&self) -> bool;

    /// Appends the value to `out`.
    ///
    /// # Errors
    /// The codec cannot write the value.
    fn encode(&self, encoding: &Encoding, held: &Held, out: &mut Vec<u8>)
    -> Result<(), CodecError>;

    /// Reads a value.
    ///
    /// # Errors
    /// The bytes are not a value of this type.
    fn decode(&self, encoding: &Encoding, bytes: &[u8]) -> Result<Held, CodecError>;

    /// Returns the shape of the type, whose fingerprint is in each record.
    fn shape(&self) -> Shape;

    /// Returns the type for its layout. `None` if its values cannot be written as records.
    #[cfg(feature = "inspect")]
    fn traced(&self) -> Option<TracedType>;

    /// Returns `true` if serde leaves out a field of the value.
    fn skips_a_field(&self, held: &Held) -> bool;

    /// Returns the name of the type.
    fn name(&self) -> &'static str;

    /// Returns the function that takes a value out of memory's pointer, a
    /// `fn(Held) -> Option<V>`.
    fn give(&self) -> Box<dyn Any + Send + Sync>;
}

impl<V> Clone for ValueType<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for ValueType<V> {}

impl<V> Clone for RecordType<V> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<V> Copy for RecordType<V> {}

impl<V> fmt::Debug for ValueType<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ValueType")
            .field("type", &std::any::type_name::<V>())
            .field("records", &self.records.is_some())
            .finish_non_exhaustive()
    }
}

impl<V: Clone + Send + Sync + 'static> ValueType<V> {
    /// A type that stays in memory. A value weighs its size on the stack, unless
    /// [`weigh`](Self::weigh) sets another function.
    #[must_use]
    pub const fn memory_only() -> Self {
        Self {
            records: None,
            weigh: size::<V>,
            behind: 0,
            held_as: TypeId::of::<V>,
            hold: hold::<V>,
            give: give::<V>,
            look: look::<V>,
        }
    }

    /// A type that can be written as a record. A value weighs its size on the stack and the data
    /// that serde finds behind its pointers.
    #[must_use]
    pub const fn shared() -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        let mut this = Self::memory_only();
        this.records = Some(RecordType {
            encode: Encoding::encode::<V>,
            decode: Encoding::decode::<V>,
            traced: TracedType::of::<V>,
            skips: weigh::skips_a_field,
        });
        this.weigh = weigh::weigh_by_serde;
        this
    }
}

impl<V> ValueType<V> {
    /// Weighs values by `weigh`, which returns bytes.
    #[must_use]
    pub const fn weigh(mut self, weigh: fn(&V) -> usize) -> Self {
        self.weigh = weigh;
        self
    }
}

impl<T: Send + Sync + 'static> ValueType<Arc<T>> {
    /// Holds the `T` in memory as it is: without a second allocation, and with one reference count
    /// for a hit.
    #[must_use]
    pub const fn as_it_is(mut self) -> Self {
        self.behind = size_of::<T>();
        self.held_as = TypeId::of::<T>;
        self.hold = hold_arc::<T>;
        self.give = give_arc::<T>;
        self.look = look_arc::<T>;
        self
    }
}

// These are functions and not closures, because a closure that becomes a function pointer is
// compiled twice.

fn size<V>(_: &V) -> usize {
    size_of::<V>()
}

fn hold<V: Send + Sync + 'static>(value: V) -> Held {
    Arc::new(value)
}

fn give<V: Clone + 'static>(held: Held) -> Option<V> {
    held.downcast_ref::<V>().cloned()
}

fn look<V: 'static>(held: &Held, then: &mut dyn FnMut(&V)) {
    if let Some(value) = held.downcast_ref() {
        then(value);
    }
}

fn hold_arc<T: Send + Sync + 'static>(value: Arc<T>) -> Held {
    value
}

fn give_arc<T: Send + Sync + 'static>(held: Held) -> Option<Arc<T>> {
    held.downcast().ok()
}

fn look_arc<T: Send + Sync + 'static>(held: &Held, then: &mut dyn FnMut(&Arc<T>)) {
    if let Ok(value) = Arc::clone(held).downcast() {
        then(&value);
    }
}

#[cold]
fn no_records() -> CodecError {
    "the value type has no records".into()
}

impl<V: 'static> ErasedType for ValueType<V> {
    fn is_of(&self, held: &Held) -> bool {
        (**held).type_id() == (self.held_as)()
    }

    fn weight(&self, held: &Held, measured: bool) -> usize {
        let mut weight = size_of::<V>();
        if measured {
            (self.look)(held, &mut |value| {
                weight = (self.weigh)(value) + self.behind
            });
        }
        weight
    }

    fn has_records(&self) -> bool {
        self.records.is_some()
    }

    fn encode(
        &self,
        encoding: &Encoding,
        held: &Held,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        let mut written = None;
        if let Some(records) = &self.records {
            (self.look)(held, &mut |value| {
                written = Some((records.encode)(encoding, value, out));
            });
        }
        written.unwrap_or_else(|| Err(no_records()))
    }

    fn decode(&self, encoding: &Encoding, bytes: &[u8]) -> Result<Held, CodecError> {
        match &self.records {
            Some(records) => (records.decode)(encoding, bytes).map(self.hold),
            None => Err(no_records()),
        }
    }

    fn shape(&self) -> Shape {
        match &self.records {
            Some(records) => (records.traced)().shape(),
            None => Shape::of_name(self.name()),
        }
    }

    #[cfg(feature = "inspect")]
    fn traced(&self) -> Option<TracedType> {
        Some((self.records.as_ref()?.traced)())
    }

    fn skips_a_field(&self, held: &Held) -> bool {
        let mut skips = false;
        if let Some(records) = &self.records {
            (self.look)(held, &mut |value| skips = (records.skips)(value));
        }
        skips
    }

    fn name(&self) -> &'static str {
        std::any::type_name::<V>()
    }

    fn give(&self) -> Box<dyn Any + Send + Sync> {
        Box::new(self.give)
    }
}

/// Reads back a payload that was written, to find types that a codec can write but not read.
///
/// A format that does not describe itself cannot be read after a field that serde left out
/// (`skip_serializing_if`), flattened or guessed (`untagged`). Written again the value must have
/// the same bytes, in any order: a `HashMap` may iterate in another order the second time.
pub(crate) fn check_round_trip(
    value: &dyn ErasedType,
    encoding: &Encoding,
    payload: &[u8],
) -> Result<(), Error> {
    let fail = |source: CodecError| {
        Error::with_source(
            ErrorKind::Codec,
            format!("a value that {encoding} wrote cannot be read back"),
            source,
        )
    };
    let held = value.decode(encoding, payload).map_err(fail)?;
    let mut again = Vec::with_capacity(payload.len());
    value.encode(encoding, &held, &mut again).map_err(fail)?;
    if again != payload {
        let sorted = |bytes: &[u8]| {
            let mut bytes = bytes.to_vec();
            bytes.sort_unstable();
            bytes
        };
        if sorted(&again) != sorted(payload) {
            return Err(fail(
                "the value that was read differs from the one that was written".into(),
            ));
        }
    }
    Ok(())
}
