//! Bytes to a hash: encoded arguments for another function seed than the one they were encoded for.
//!
//! A handle does not know which runtime it acts on until it is polled, and every runtime has a seed of its own. The hash is
//! folded value by value while a key is encoded, so it is made again by writing the same values.

use super::encode::tag;
use super::text::Reader;
use super::{Arguments, Key};
use crate::key::FunctionId;

/// Encoded arguments of a function that is not bound to a runtime yet.
#[derive(Clone)]
pub(crate) struct UnboundArguments(pub(super) Box<[u8]>);

impl UnboundArguments {
    /// The key of `function` with these arguments; `seed` is the function's.
    pub(crate) fn key(&self, function: FunctionId, seed: u64) -> Key {
        let mut out = Arguments::empty(seed);
        value(&mut Reader { rest: &self.0 }, &mut out);
        out.key(function).to_owned()
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
        tag @ (tag::STR | tag::BYTES) => {
            out.tag(tag);
            out.text(reader.text());
        }
        tag::SOME => {
            out.tag(tag::SOME);
            value(reader, out);
        }
        tag::VARIANT => {
            out.tag(tag::VARIANT);
            out.text(reader.text());
            value(reader, out);
        }
        tag::SEQUENCE => {
            out.open(tag::SEQUENCE);
            values(reader, out);
        }
        // Its names are texts like others.
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
        // No encoder wrote that.
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

/// A key or a value of a map, which goes into the hash as a whole.
fn apart(reader: &mut Reader<'_>, out: &mut Arguments) {
    let before = reader.rest;
    value(reader, &mut Arguments::empty(0));
    out.encoded(&before[..before.len() - reader.rest.len()]);
}
