//! Invalidations as bytes, for the journal's file.
//!
//! An invalidation is its kind (`a` everything, `f` a function, `k` a key, `t` tags, `T` all tags).
//! A function follows as version, digest, length of the name, and name; a key adds its digest and
//! its arguments; tags follow as their digests. Numbers are in little-endian order.
//!
//! A version that does not know a kind takes it for damage, and invalidates everything.

use std::sync::Arc;

use cache_core::tier::kit::OwnedTarget;
use cache_core::tier::{FunctionKey, RecordKey};

use super::invalidated::Invalidated;

/// Encodes an invalidation.
pub(super) fn encode(invalidated: &Invalidated) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encode_function = |kind: u8, function: &FunctionKey| {
        bytes.push(kind);
        bytes.extend(function.version.to_le_bytes());
        bytes.extend(function.digest.to_le_bytes());
        let len = u32::try_from(function.name.len()).unwrap_or(u32::MAX);
        bytes.extend(len.to_le_bytes());
        bytes.extend(function.name.as_bytes());
    };
    match invalidated {
        Invalidated::AllTags => bytes.push(b'T'),
        Invalidated::Tags(tags) => {
            bytes.push(b't');
            bytes.extend(tags.iter().flat_map(|tag| tag.to_le_bytes()));
        }
        Invalidated::Target(OwnedTarget::All) => bytes.push(b'a'),
        Invalidated::Target(OwnedTarget::Function(function)) => encode_function(b'f', function),
        Invalidated::Target(OwnedTarget::Key(key)) => {
            encode_function(b'k', &key.function);
            bytes.extend(key.digest.to_le_bytes());
            bytes.extend(key.arguments.as_bytes());
        }
    }
    bytes
}

/// Decodes the bytes of [`encode`]; `None` if they are not of an invalidation.
pub(super) fn decode(bytes: &[u8]) -> Option<Invalidated> {
    let (kind, rest) = bytes.split_first()?;
    match kind {
        b'a' => Some(Invalidated::Target(OwnedTarget::All)),
        b'T' => Some(Invalidated::AllTags),
        b't' => {
            let (tags, []) = rest.as_chunks() else {
                return None;
            };
            let tags = tags.iter().map(|tag| u64::from_le_bytes(*tag));
            Some(Invalidated::Tags(tags.collect()))
        }
        kind => decode_named(*kind, rest).map(Invalidated::Target),
    }
}

fn decode_named(kind: u8, rest: &[u8]) -> Option<OwnedTarget> {
    let (version, rest) = rest.split_first_chunk()?;
    let (digest, rest) = rest.split_first_chunk()?;
    let (len, rest) = rest.split_first_chunk()?;
    let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    let function = FunctionKey::named(
        String::from_utf8(name.to_vec()).ok()?,
        u32::from_le_bytes(*version),
        u64::from_le_bytes(*digest),
    );
    match kind {
        b'f' => Some(OwnedTarget::Function(function)),
        b'k' => {
            let (digest, arguments) = rest.split_first_chunk()?;
            let arguments = String::from_utf8(arguments.to_vec()).ok()?;
            let digest = u64::from_le_bytes(*digest);
            let key = RecordKey::new(Arc::new(function), arguments, digest);
            Some(OwnedTarget::Key(key))
        }
        _ => None,
    }
}
