//! The shape of a value type: a fingerprint of what serde reads, traced without a value.
//!
//! A [`Tracer`] notes every question that the type asks (the names of structs, fields and variants,
//! the kinds of numbers, nested), and the [`Reader`] answers it with a made-up value, so that the
//! type continues to ask. An enum is traced once per variant; a type inside itself ends where it
//! appears for the second time. A type that refuses a made-up text (a date, an address) is offered
//! others. If a type cannot be traced this way (`untagged`, `flatten`, values that describe
//! themselves), its name takes the place of the description.

use std::any::type_name;
use std::panic::catch_unwind;

use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::xxh3_64;

use super::reader::{ReadError, Reader};
use super::tracer::Tracer;

/// The part of a record's header that describes the value type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) fingerprint: u64,
    /// `true` if the type was traced to the end; otherwise the fingerprint is that of its name.
    pub(crate) traced: bool,
}

/// Reads a value of one type and drops it.
type Read = fn(&mut Reader<'_, '_>) -> Result<(), ReadError>;

impl Shape {
    /// Traces `V`.
    pub(crate) fn of<V: DeserializeOwned>() -> Self {
        Self::traced(type_name::<V>(), |reader| V::deserialize(reader).map(drop))
    }

    /// Traces the type of that name, which `read` reads.
    fn traced(name: &str, read: Read) -> Self {
        // A type may panic over a made-up text. That must not be the caller's panic.
        match catch_unwind(|| trace(read)).ok().flatten() {
            Some(description) => Self {
                fingerprint: xxh3_64(description.as_bytes()),
                traced: true,
            },
            None => Self::of_name(name),
        }
    }

    /// Returns the shape of a type that is known by its name alone.
    pub(crate) fn of_name(name: &str) -> Self {
        Self {
            fingerprint: xxh3_64(name.as_bytes()),
            traced: false,
        }
    }
}

/// A type that needs more runs is given up: tracing happens on a caller's path, once.
const MOST_RUNS: usize = 2_048;

/// Returns the description of a type. Every build that sees the same type gets the same one.
fn trace(read: Read) -> Option<String> {
    let mut tracer = Tracer::default();
    for _ in 0..MOST_RUNS {
        tracer.begin();
        match read(&mut Reader::traced(&mut tracer)) {
            Ok(()) => {
                if tracer.end() {
                    return Some(tracer.description());
                }
            }
            Err(ReadError::Unsupported | ReadError::Record(_)) => return None,
            Err(ReadError::Refused) => {
                if !tracer.offer_another_text() {
                    return None;
                }
            }
        }
    }
    None
}
