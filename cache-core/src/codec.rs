//! Codecs: how a value becomes the payload of a record, and what shape it has.

mod builtin;
#[cfg(feature = "custom-codec")]
mod custom;
mod shape;
mod value_type;

use std::error::Error as StdError;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::builtin::{Encoding, Encodings};
#[cfg(feature = "custom-codec")]
pub use self::custom::{Codec, Decode};
pub(crate) use self::shape::Shape;
pub use self::value_type::ValueType;
pub(crate) use self::value_type::{ErasedType, check_round_trip};

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
