//! Codecs of the user's own.
//!
//! They see values through `erased_serde`, for which the visitors of every cached type are compiled once more. So they are a
//! feature, which is off by default.

use std::fmt;

use super::CodecError;

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
