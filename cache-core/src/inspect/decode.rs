//! From the payload of a record to JSON.

use serde_json::Value;

use super::bincode::Bincode;
use super::decoder::{Budget, Decoder};
use super::error::DecodeError;
use super::postcard::Postcard;
use super::{json, msgpack};
use crate::codec::layout::Layout;

/// A codec of the crate, whose payloads can be read without the program that wrote them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PayloadCodec {
    /// The codec `postcard`, which needs a layout.
    Postcard,
    /// The codec `bincode`, which needs a layout.
    Bincode,
    /// The codec `msgpack`, which describes itself.
    MessagePack,
    /// The codec `json`, which describes itself.
    Json,
}

impl PayloadCodec {
    /// Returns the codec that has this number in the header of a record. `None` for a codec that
    /// the program brought along.
    #[must_use]
    pub const fn of_id(id: u8) -> Option<Self> {
        match id {
            1 => Some(Self::Postcard),
            2 => Some(Self::Bincode),
            3 => Some(Self::MessagePack),
            4 => Some(Self::Json),
            _ => None,
        }
    }

    /// Returns the name of the codec, as it is set.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Postcard => "postcard",
            Self::Bincode => "bincode",
            Self::MessagePack => "msgpack",
            Self::Json => "json",
        }
    }

    /// Returns `true` if a payload can be read only by the layout of its type.
    #[must_use]
    pub const fn needs_layout(self) -> bool {
        matches!(self, Self::Postcard | Self::Bincode)
    }
}

/// Decodes the payload of a record into the JSON that `serde_json` makes of the program's value.
///
/// `layout` is that of the value type. MessagePack and JSON do not need it. A caller shows a
/// payload that cannot be decoded as bytes.
///
/// The result differs from that of the program where JSON alone is not enough to tell: a number
/// outside of the range of 64 bits is a text of its digits, a map key that is no text, number or
/// name is a text of its JSON, a type that is written differently for people (an IP address, a
/// UUID) has the form that it has in records, and a field has the name by which it is read. In
/// MessagePack, a struct without fields is an empty list, and an integer of 128 bits is its bytes.
///
/// Bytes of any length and content are read without a panic. The result takes no more memory than
/// 64 KiB and 1024 times the length of the payload, and no more than 64 MiB, approximately.
///
/// # Errors
/// The payload is not one of this codec and layout, needs a layout and there is none, is nested
/// more than 100 deep, or takes too much memory.
pub fn decode(
    codec: PayloadCodec,
    layout: Option<&Layout>,
    payload: &[u8],
) -> Result<Value, DecodeError> {
    let budget = Budget::of(payload);
    match (codec, layout) {
        (PayloadCodec::Postcard, Some(layout)) => {
            Decoder::new(Postcard::new(payload), layout, budget).whole()
        }
        (PayloadCodec::Bincode, Some(layout)) => {
            Decoder::new(Bincode::new(payload), layout, budget).whole()
        }
        (PayloadCodec::Postcard | PayloadCodec::Bincode, None) => Err(DecodeError::new(
            "the layout of the value type is not known",
        )),
        (PayloadCodec::MessagePack, _) => msgpack::decode(payload, budget),
        (PayloadCodec::Json, _) => json::decode(payload, budget),
    }
}
