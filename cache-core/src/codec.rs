//! Codecs: how a value becomes the payload of a record, and the shape of its type.

mod builtin;
#[cfg(feature = "custom-codec")]
mod custom;
mod deserializer;
mod draft;
#[cfg(feature = "inspect")]
pub(crate) mod layout;
mod reader;
mod shape;
mod tracer;
mod value_type;
mod writer;

use std::error::Error as StdError;

use serde::Serialize;
use serde::de::DeserializeOwned;

pub(crate) use self::builtin::{Encoding, Encodings};
#[cfg(feature = "custom-codec")]
pub use self::custom::{Codec, Decode};
pub(crate) use self::shape::{Shape, TracedType};
pub use self::value_type::ValueType;
pub(crate) use self::value_type::{ErasedType, check_round_trip};

/// The error of a codec.
pub type CodecError = Box<dyn StdError + Send + Sync>;

/// A value that can be written to a tier outside this process: `Serialize` and `DeserializeOwned`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be stored in a tier below memory",
    label = "this value cannot be written as a record",
    note = "derive `serde::Serialize` and `serde::Deserialize` for `{Self}`, or keep it in \
            memory only with `tiers = \"l1\"`"
)]
pub trait SharedValue: Serialize + DeserializeOwned + 'static {}

#[diagnostic::do_not_recommend]
impl<V: Serialize + DeserializeOwned + 'static> SharedValue for V {}

#[cfg(test)]
mod tests;
