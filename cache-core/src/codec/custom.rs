//! Codecs of the user.
//!
//! They are called through `erased_serde`, for which the serde code of every cached type is
//! compiled once more. So they are a feature, which is off by default.

use std::fmt;

use super::CodecError;

/// A codec of your own: turns values into bytes and back.
///
/// Pass it to [`RuntimeBuilder::codec`](crate::RuntimeBuilder::codec) and name it in `codec = "…"`.
/// The four that come with the crate (`postcard`, `bincode`, `msgpack`, `json`) need no
/// registration.
///
/// ```
/// use cache_core::codec::{Codec, CodecError, Decode};
///
/// /// Postcard with every bit inverted.
/// #[derive(Debug)]
/// struct Inverted;
///
/// impl Codec for Inverted {
///     fn name(&self) -> &'static str {
///         "inverted"
///     }
///
///     fn id(&self) -> u8 {
///         200
///     }
///
///     fn encode(
///         &self,
///         value: &dyn erased_serde::Serialize,
///         out: &mut Vec<u8>,
///     ) -> Result<(), CodecError> {
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
    /// The name, as in `codec = "…"`.
    fn name(&self) -> &'static str;

    /// The id in the header of each record, from 128 to 255. Two codecs with one id would read each
    /// other's records.
    fn id(&self) -> u8;

    /// Appends `value` to `out`.
    ///
    /// # Errors
    /// If the value cannot be written. It is then not stored in tiers that hold records.
    fn encode(
        &self,
        value: &dyn erased_serde::Serialize,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError>;

    /// Reads a value from `bytes`: passes a deserializer to `decode`, once.
    ///
    /// # Errors
    /// If the bytes are not a value. The record is then a miss, which is counted, and is replaced.
    fn decode(&self, bytes: &[u8], decode: Decode<'_>) -> Result<(), CodecError>;
}

/// The function that takes the deserializer of a [`Codec`].
pub type Decode<'a> =
    &'a mut dyn FnMut(&mut dyn erased_serde::Deserializer<'_>) -> Result<(), erased_serde::Error>;
