//! Value types: what the runtime does with a value, by its type and without it.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{CodecError, Encoding, Shape};
use crate::entry::Held;
use crate::error::{Error, ErrorKind};
use crate::weigh;

/// The functions of a value type: how its records are written and read, and what it weighs.
///
/// [`memory_only`](Self::memory_only) asks nothing of the type; [`shared`](Self::shared) asks for serde.
pub struct ValueType<V> {
    pub(crate) records: Option<RecordType<V>>,
    pub(crate) weigh: fn(&V) -> usize,
    /// Bytes behind a shared pointer that `weigh` does not see.
    behind: usize,
    pub(crate) hold: fn(V) -> Held,
    pub(crate) give: fn(Held) -> Option<V>,
    /// Passes the value to the function; nothing is cloned but a shared pointer.
    look: Look<V>,
}

type Look<V> = fn(&Held, &mut dyn FnMut(&V));

/// The part of a [`ValueType`] that only tiers with records need.
pub(crate) struct RecordType<V> {
    pub(crate) encode: fn(&Encoding, &V, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(crate) decode: fn(&Encoding, &[u8]) -> Result<V, CodecError>,
    pub(crate) shape: fn() -> Shape,
    /// Whether serde leaves a field of this value out.
    pub(crate) skips: fn(&V) -> bool,
}

/// A [`ValueType`] without its type. The load path is compiled once, and calls a value's own functions through this.
pub(crate) trait ErasedType: Send + Sync {
    /// Returns `true` if the held value is of this type.
    fn is_of(&self, held: &Held) -> bool;

    /// Bytes that the value takes in memory, if they are `measured`; its size on the stack otherwise.
    fn weight(&self, held: &Held, measured: bool) -> usize;

    /// Whether values of this type can be written as records. The functions below need that.
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
    /// The bytes are no value of this type.
    fn decode(&self, encoding: &Encoding, bytes: &[u8]) -> Result<Held, CodecError>;

    /// The shape of the type, which its records name.
    fn shape(&self) -> Shape;

    /// Whether serde leaves a field of this value out.
    fn skips_a_field(&self, held: &Held) -> bool;

    /// The name of the type.
    fn name(&self) -> &'static str;
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
    /// A type that stays in memory. A value weighs its size on the stack unless [`weigh`](Self::weigh) says more.
    #[must_use]
    pub const fn memory_only() -> Self {
        Self {
            records: None,
            weigh: size::<V>,
            behind: 0,
            hold: hold::<V>,
            give: give::<V>,
            look: look::<V>,
        }
    }

    /// A type that can be written as a record. A value weighs its size on the stack and what serde finds behind it.
    #[must_use]
    pub const fn shared() -> Self
    where
        V: Serialize + DeserializeOwned,
    {
        let mut this = Self::memory_only();
        this.records = Some(RecordType {
            encode: Encoding::encode::<V>,
            decode: Encoding::decode::<V>,
            shape: Shape::of::<V>,
            skips: weigh::skips_a_field,
        });
        this.weigh = weigh::weigh_by_serde;
        this
    }
}

impl<V> ValueType<V> {
    /// The same type, weighed by `weigh` (bytes).
    #[must_use]
    pub const fn weigh(mut self, weigh: fn(&V) -> usize) -> Self {
        self.weigh = weigh;
        self
    }
}

impl<T: Send + Sync + 'static> ValueType<Arc<T>> {
    /// The same type, its `T` held in memory as it is: no second allocation, one reference count on a hit.
    #[must_use]
    pub const fn as_it_is(mut self) -> Self {
        self.behind = size_of::<T>();
        self.hold = hold_arc::<T>;
        self.give = give_arc::<T>;
        self.look = look_arc::<T>;
        self
    }
}

// Functions, not closures: a closure that becomes a pointer is compiled twice.

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
        let mut is_of = false;
        (self.look)(held, &mut |_| is_of = true);
        is_of
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
            Some(records) => (records.shape)(),
            None => Shape::of_name(self.name()),
        }
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
}

/// Reads back a payload that was written, to find the types that a codec writes but cannot read.
///
/// A codec whose format does not describe itself loses its place after a field that serde left out
/// (`skip_serializing_if`), flattened or guessed (`untagged`). Written again the value must give the same bytes, in
/// any order: a `HashMap` may iterate otherwise the second time.
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
            return Err(fail("it came back as another value".into()));
        }
    }
    Ok(())
}
