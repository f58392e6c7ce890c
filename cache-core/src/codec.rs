//! Codecs: how a value becomes the payload of a record, and what shape it has.

mod builtin;
mod shape;

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::builtin::{Encoding, Encodings};
pub(crate) use self::shape::Shape;
use crate::entry::Held;
use crate::error::{Error, ErrorKind};

/// A codec of your own: values to bytes and back.
///
/// Give it to [`RuntimeBuilder::codec`](crate::RuntimeBuilder::codec) and name it in `codec = "…"`.
/// The four that come with the crate (`postcard`, `bincode`, `msgpack`, `json`) need no registration.
///
/// ```
/// use cache_core::codec::{Codec, CodecError, Decode};
///
/// /// Postcard, with every byte turned over.
/// #[derive(Debug)]
/// struct Turned;
///
/// impl Codec for Turned {
///     fn name(&self) -> &'static str {
///         "turned"
///     }
///
///     fn id(&self) -> u8 {
///         200
///     }
///
///     fn encode(&self, value: &dyn erased_serde::Serialize, out: &mut Vec<u8>) -> Result<(), CodecError> {
///         let bytes = postcard::to_stdvec(value)?;
///         out.extend(bytes.iter().map(|byte| !byte));
///         Ok(())
///     }
///
///     fn decode(&self, bytes: &[u8], decode: Decode<'_>) -> Result<(), CodecError> {
///         let bytes: Vec<u8> = bytes.iter().map(|byte| !byte).collect();
///         let mut deserializer = postcard::Deserializer::from_bytes(&bytes);
///         decode(&mut <dyn erased_serde::Deserializer<'_>>::erase(&mut deserializer))?;
///         Ok(())
///     }
/// }
/// ```
pub trait Codec: fmt::Debug + Send + Sync + 'static {
    /// The name that `codec = "…"` gives.
    fn name(&self) -> &'static str;

    /// The number in the header of each record, from 128 to 255. Two codecs of one number read each other's bytes.
    fn id(&self) -> u8;

    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// When the value cannot be written; it then stays out of the tiers that hold records.
    fn encode(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError>;

    /// Reads a value from `bytes` by handing a deserializer to `decode`, once.
    ///
    /// # Errors
    /// When the bytes are no value; the record is then a miss, counted, and replaced.
    fn decode(&self, bytes: &[u8], decode: Decode<'_>) -> Result<(), CodecError>;
}

/// Takes the deserializer that a [`Codec`] made.
pub type Decode<'a> =
    &'a mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>;

/// What a codec could not do.
pub type CodecError = Box<dyn StdError + Send + Sync>;

/// What the runtime knows of a value type: how its records are written and read, what it weighs.
///
/// [`memory_only`](Self::memory_only) asks nothing of the type; [`shared`](Self::shared) asks for serde.
pub struct ValueType<V> {
    pub(crate) records: Option<RecordType<V>>,
    pub(crate) weigh: fn(&V) -> usize,
    /// Bytes behind a shared pointer that `weigh` does not see.
    pub(crate) behind: usize,
    /// Into memory and out of it.
    pub(crate) hold: fn(&V) -> Held,
    pub(crate) give: fn(Held) -> Option<V>,
}

/// The part of a [`ValueType`] that only tiers with records need.
pub(crate) struct RecordType<V> {
    pub(crate) encode: fn(&Encoding, &V, &mut Vec<u8>) -> Result<(), CodecError>,
    pub(crate) decode: fn(&Encoding, &[u8]) -> Result<V, CodecError>,
    pub(crate) shape: fn() -> Shape,
    /// Whether serde leaves a field of this value out.
    pub(crate) skips: fn(&V) -> bool,
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
            weigh: |_| size_of::<V>(),
            behind: 0,
            hold: |value| Arc::new(value.clone()),
            give: |held| held.downcast_ref::<V>().cloned(),
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
            encode: |encoding, value, out| encoding.encode(value, out),
            decode: |encoding, bytes| encoding.decode(bytes),
            shape: Shape::of::<V>,
            skips: crate::entry::skips_a_field,
        });
        this.weigh = crate::entry::weigh_by_serde;
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
        self.hold = |value| Arc::<T>::clone(value);
        self.give = |held| held.downcast().ok();
        self
    }
}

/// A value that can be written to a tier outside this process: `Serialize` and `DeserializeOwned`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a shared tier",
    label = "no record can be made of this value",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`, or keep it in memory alone with `tiers = \"l1\"`"
)]
pub trait SharedValue: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Serialize + DeserializeOwned + 'static> SharedValue for V {}

/// Writes `value` and reads it back, to find the types that a codec writes but cannot read.
///
/// A codec whose format does not describe itself loses its place after a field that serde left out
/// (`skip_serializing_if`), flattened or guessed (`untagged`). Written again the value must give the same bytes, in
/// any order: a `HashMap` may iterate otherwise the second time.
pub(crate) fn check_round_trip<V>(
    records: &RecordType<V>,
    encoding: &Encoding,
    payload: &[u8],
) -> Result<(), Error> {
    let fail = |source: CodecError| {
        Error::with_source(
            ErrorKind::Codec,
            format!("read back what {encoding} wrote"),
            source,
        )
    };
    let value = (records.decode)(encoding, payload).map_err(fail)?;
    let mut again = Vec::with_capacity(payload.len());
    (records.encode)(encoding, &value, &mut again).map_err(fail)?;
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

#[cfg(test)]
mod tests;
