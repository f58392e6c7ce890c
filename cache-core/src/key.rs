//! Keys: a function and its arguments, as bytes that no other argument list has.
//!
//! Arguments are serialized into a tagged binary form ([`encode`]) on the caller's stack: every
//! value has its type, and every text its length, so two lists have the same bytes only if they are
//! equal. An entry is found by a hash with a seed of the runtime, and then the full bytes are
//! compared. The readable form for shared tiers is rendered from the same bytes ([`text`]), only
//! when such a tier is read or written.

mod arguments;
mod encode;
mod hash;
mod opaque;
mod parts;
mod replay;
mod short;
mod stored;
mod tag;
mod text;

use serde::Serialize;

pub use self::arguments::Arguments;
pub use self::encode::Refused;
pub(crate) use self::hash::{CarriedHash, name_hash};
pub(crate) use self::parts::Tuple;
pub use self::parts::{ArgumentList, Parts};
pub(crate) use self::replay::UnboundArguments;
pub(crate) use self::stored::{FunctionId, Key, KeyRef, function_seed};
pub use self::text::Piece;
#[cfg(feature = "inspect")]
pub use self::text::text_argument;
pub(crate) use self::text::{is_cut, render, render_tag};

/// A value that can be part of a cache key: every value that serde can serialize.
///
/// It is implemented for every `T: Serialize`. Values that are equal must serialize equally. A
/// `HashSet` does not, because its order is not fixed. (The entries of a map are sorted.) Values
/// that differ must serialize differently: a field with `#[serde(skip)]` is not in the key.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "this argument cannot be encoded as a part of the key",
    note = "derive `serde::Serialize` for `{Self}`, or leave the argument out of the key with \
            `skip(..)`"
)]
pub trait KeyArgument: Serialize {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + ?Sized> KeyArgument for T {}

#[cfg(test)]
mod tests;
