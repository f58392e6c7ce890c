//! Targets of invalidations as bytes, for the journal's file.
//!
//! A target is its kind (`a` everything, `f` a function, `k` a key). A function follows as version,
//! digest, length of the name, and name; a key adds its digest and its arguments. Numbers are in
//! little-endian order.

use std::sync::Arc;

use cache_core::tier::kit::OwnedTarget;
use cache_core::tier::{FunctionKey, RecordKey};

/// Encodes a target.
pub(super) fn encode(target: &OwnedTarget) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encode_function = |kind: u8, function: &FunctionKey| {
        bytes.push(kind);
        bytes.extend(function.version.to_le_bytes());
        bytes.extend(function.digest.to_le_bytes());
        let len = u32::try_from(function.name.len()).unwrap_or(u32::MAX);
        bytes.extend(len.to_le_bytes());
        bytes.extend(function.name.as_bytes());
    };
    match target {
        OwnedTarget::All => bytes.push(b'a'),
        OwnedTarget::Function(function) => encode_function(b'f', function),
        OwnedTarget::Key(key) => {
            encode_function(b'k', &key.function);
            bytes.extend(key.digest.to_le_bytes());
            bytes.extend(key.arguments.as_bytes());
        }
    }
    bytes
}

/// Decodes the bytes of [`encode`]; `None` if they are not of a target.
pub(super) fn decode(bytes: &[u8]) -> Option<OwnedTarget> {
    let (kind, rest) = bytes.split_first()?;
    if *kind == b'a' {
        return Some(OwnedTarget::All);
    }
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
