//! Hashes encoded arguments again, with the seed of another function.
//!
//! A handle does not know on which runtime it acts until it is polled, and every runtime has a seed
//! of its own. A key is hashed value by value while it is encoded, so the same values are written
//! again.

use std::fmt;

use super::arguments::Arguments;
use super::stored::{FunctionId, Key};
use super::tag;
use super::text::{Reader, render};

/// Encoded arguments of a function that is not bound to a runtime yet.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct UnboundArguments(pub(super) Box<[u8]>);

impl UnboundArguments {
    /// Returns the key of `function` with these arguments. `seed` is that of the function.
    pub(crate) fn key(&self, function: FunctionId, seed: u64) -> Key {
        let mut out = Arguments::empty(seed);
        value(&mut Reader::new(&self.0), &mut out);
        out.key(function).to_owned()
    }
}

impl fmt::Debug for UnboundArguments {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&render(&self.0, &[]))
    }
}

/// Writes the next value as [`Encoder`](super::encode::Encoder) wrote it.
fn value(reader: &mut Reader<'_>, out: &mut Arguments) {
    match reader.byte() {
        tag @ (tag::FALSE | tag::TRUE | tag::NONE | tag::UNIT) => out.tag(tag),
        tag @ (tag::I8 | tag::U8) => out.number(tag, reader.number::<1>()),
        tag @ (tag::I16 | tag::U16) => out.number(tag, reader.number::<2>()),
        tag @ (tag::I32 | tag::U32 | tag::F32 | tag::CHAR) => {
            out.number(tag, reader.number::<4>());
        }
        tag @ (tag::I64 | tag::U64 | tag::F64) => out.number(tag, reader.number::<8>()),
        tag @ (tag::I128 | tag::U128) => {
            out.tag(tag);
            out.wide(reader.number());
        }
        tag @ (tag::STR | tag::BYTES) => out.text(tag, reader.text()),
        tag::SOME => {
            out.tag(tag::SOME);
            value(reader, out);
        }
        tag::VARIANT => {
            out.text(tag::VARIANT, reader.text());
            value(reader, out);
        }
        tag::SEQUENCE => {
            out.open(tag::SEQUENCE);
            values(reader, out);
        }
        // Names of fields are texts like others.
        tag::STRUCT => {
            out.tag(tag::STRUCT);
            values(reader, out);
        }
        tag::MAP => {
            out.tag(tag::MAP);
            while !reader.at_end() {
                apart(reader, out);
            }
            reader.byte();
            out.tag(tag::END);
        }
        // The encoder never writes another byte.
        _ => reader.rest = &[],
    }
}

fn values(reader: &mut Reader<'_>, out: &mut Arguments) {
    while !reader.at_end() {
        value(reader, out);
    }
    reader.byte();
    out.tag(tag::END);
}

/// Writes a key or a value of a map, which is hashed as a whole.
fn apart(reader: &mut Reader<'_>, out: &mut Arguments) {
    let before = reader.rest;
    value(reader, &mut Arguments::empty(0));
    out.encoded(&before[..before.len() - reader.rest.len()]);
}
