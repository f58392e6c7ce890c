//! Readers of records and of the state that instances publish, for tools. They need no type of the
//! program that wrote a record.
//!
//! A tier that several processes can reach, such as Redis, publishes under the names in [`keys`]:
//!
//! | name | holds |
//! | --- | --- |
//! | [`keys::FUNCTIONS`] | a hash: `name:version` of a function to a [`PublishedFunction`] |
//! | [`keys::SHAPES`] | a hash: each [`Layout`] by its [fingerprint](keys::fingerprint) |
//! | [`keys::INSTANCE`] and an id | a [`PublishedInstance`] |
//! | [`keys::INSTANCES`] | a sorted set: ids of instances, by the time of their last publication |
//!
//! All of it is JSON. No part of the cache reads it, so what is lost, late or damaged concerns
//! displays only. A reader MUST ignore fields that it does not know, as these types do.

mod bincode;
mod decode;
mod decoder;
mod error;
pub(crate) mod function;
mod json;
mod msgpack;
mod postcard;
pub(crate) mod published;
mod record;

pub use self::decode::{PayloadCodec, decode};
pub use self::error::DecodeError;
pub use self::published::{
    InstanceSettings, PublishedFunction, PublishedInstance, PublishedSettings, PublishedTier, keys,
};
pub use self::record::{DamagedRecord, Record, RecordKind};
pub use crate::codec::layout::{Field, Layout, Members, NamedType, Part, TypeKind, Variant};
pub use crate::key::text_argument;
pub use crate::record::Mark;
pub use crate::tier::kit::owner_of_token;

#[cfg(test)]
mod tests;
