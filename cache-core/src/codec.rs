//! Codecs: how a value becomes the payload of a record, and what shape it has.

mod builtin;
mod shape;
mod value_type;

use std::error::Error as StdError;
use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::builtin::{Encoding, Encodings};
pub(crate) use self::shape::Shape;
pub use self::value_type::ValueType;
pub(crate) use self::value_type::{ErasedType, check_round_trip};

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

/// A value that can be written to a tier outside this process: `Serialize` and `DeserializeOwned`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in a shared tier",
    label = "no record can be made of this value",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`, or keep it in memory alone with `tiers = \"l1\"`"
)]
pub trait SharedValue: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Serialize + DeserializeOwned + 'static> SharedValue for V {}

#[cfg(test)]
mod tests;
