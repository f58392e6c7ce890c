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

#[cfg(feature = "inspect")]
use super::layout::Layout;
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

/// A type that can be traced: the only part of this that is compiled for each value type.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TracedType {
    name: &'static str,
    read: Read,
}

impl TracedType {
    pub(crate) fn of<V: DeserializeOwned>() -> Self {
        Self {
            name: type_name::<V>(),
            read: |reader| V::deserialize(reader).map(drop),
        }
    }

    /// Traces the type.
    pub(crate) fn shape(self) -> Shape {
        match self.trace() {
            Some(tracer) => Shape {
                fingerprint: xxh3_64(tracer.description().as_bytes()),
                traced: true,
            },
            None => Shape::of_name(self.name),
        }
    }

    /// Traces the type once more, for its layout. `None` if it has none.
    #[cfg(feature = "inspect")]
    pub(crate) fn layout(self) -> Option<Layout> {
        self.trace()?.layout()
    }

    fn trace(self) -> Option<Tracer> {
        // A type may panic over a made-up text. That must not be the caller's panic.
        catch_unwind(|| trace(self.read)).ok().flatten()
    }
}

impl Shape {
    /// Traces `V`.
    #[cfg(test)]
    pub(crate) fn of<V: DeserializeOwned>() -> Self {
        TracedType::of::<V>().shape()
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

/// Returns what is known about a type after all its runs. Every build that sees the same type gets
/// the same description.
fn trace(read: Read) -> Option<Tracer> {
    let mut tracer = Tracer::default();
    for _ in 0..MOST_RUNS {
        tracer.begin();
        match read(&mut Reader::traced(&mut tracer)) {
            Ok(()) => {
                if tracer.end() {
                    return Some(tracer);
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
