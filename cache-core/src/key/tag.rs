//! The kinds of encoded values: one byte before each value.
//!
//! The numbers are part of the digest of a record's key and never change.

pub(super) const FALSE: u8 = 0x01;
pub(super) const TRUE: u8 = 0x02;
pub(super) const I8: u8 = 0x03;
pub(super) const I16: u8 = 0x04;
pub(super) const I32: u8 = 0x05;
pub(super) const I64: u8 = 0x06;
pub(super) const I128: u8 = 0x07;
pub(super) const U8: u8 = 0x08;
pub(super) const U16: u8 = 0x09;
pub(super) const U32: u8 = 0x0A;
pub(super) const U64: u8 = 0x0B;
pub(super) const U128: u8 = 0x0C;
pub(super) const F32: u8 = 0x0D;
pub(super) const F64: u8 = 0x0E;
pub(super) const CHAR: u8 = 0x0F;
pub(super) const STR: u8 = 0x10;
pub(super) const BYTES: u8 = 0x11;
pub(super) const NONE: u8 = 0x12;
pub(super) const SOME: u8 = 0x13;
pub(super) const UNIT: u8 = 0x14;
/// A variant: its name, then what it holds.
pub(super) const VARIANT: u8 = 0x15;
/// Values until [`END`].
pub(super) const SEQUENCE: u8 = 0x16;
/// Names and values until [`END`].
pub(super) const STRUCT: u8 = 0x17;
/// Keys and values, sorted by the keys' bytes, until [`END`].
pub(super) const MAP: u8 = 0x18;
pub(super) const END: u8 = 0x19;
