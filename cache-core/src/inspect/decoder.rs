//! Reads a value by the layout of its type, from a format that does not describe itself.

use serde_json::{Map, Number, Value};

use super::error::DecodeError;
use crate::codec::layout::{Field, Layout, Members, Part, TypeKind};

/// The deepest nesting of values. `serde_json` reads 128 levels.
const DEEPEST: usize = 100;

/// The memory that a value and a text take, besides the bytes of the text: approximately, in bytes.
const VALUE: usize = 32;
const TEXT: usize = 64;

/// The memory that a node of a map takes in bytes, however few entries it has. A map of one entry
/// has one node.
const NODE: usize = 640;

/// The number of entries for which a node is counted. A node has 11 at most, and 5 at least unless
/// it is the only one.
const ENTRIES_OF_NODE: usize = 5;

/// The largest memory that a result may take in bytes.
const MOST: usize = 64 << 20;

/// The memory that a result may still take, and the depth that it may still have.
///
/// Without it, a few bytes could be a list of a billion units, which take no bytes.
#[derive(Debug)]
pub(super) struct Budget {
    bytes: usize,
    levels: usize,
}

impl Budget {
    pub(super) fn of(payload: &[u8]) -> Self {
        let bytes = payload.len().saturating_mul(1024).saturating_add(64 << 10);
        Self {
            bytes: bytes.min(MOST),
            levels: DEEPEST,
        }
    }

    fn spend(&mut self, bytes: usize) -> Result<(), DecodeError> {
        let left = self.bytes.checked_sub(bytes);
        self.bytes = left.ok_or_else(|| DecodeError::new("the value takes too much memory"))?;
        Ok(())
    }

    /// Notes a value.
    pub(super) fn value(&mut self) -> Result<(), DecodeError> {
        self.spend(VALUE)
    }

    /// Notes a text.
    pub(super) fn text(&mut self, text: &str) -> Result<(), DecodeError> {
        self.spend(text.len().saturating_add(TEXT))
    }

    /// Notes the entry of a map that follows so many others.
    pub(super) fn entry(&mut self, before: usize, name: &str) -> Result<(), DecodeError> {
        if before.is_multiple_of(ENTRIES_OF_NODE) {
            self.spend(NODE)?;
        }
        self.text(name)
    }

    /// Notes a list of bytes, each of which becomes a number.
    pub(super) fn bytes(&mut self, bytes: &[u8]) -> Result<(), DecodeError> {
        self.spend(bytes.len().saturating_mul(VALUE))
    }

    /// Goes one level deeper.
    pub(super) fn enter(&mut self) -> Result<(), DecodeError> {
        let left = self.levels.checked_sub(1);
        self.levels = left.ok_or_else(|| DecodeError::new("the value is nested too deeply"))?;
        Ok(())
    }

    /// Goes one level back.
    pub(super) fn leave(&mut self) {
        self.levels += 1;
    }
}

/// A format: how it writes what has no parts.
pub(super) trait Source<'p> {
    /// Takes so many bytes.
    fn take(&mut self, count: usize) -> Result<&'p [u8], DecodeError>;

    /// Returns the number of bytes that are left.
    fn left(&self) -> usize;

    /// Reads an unsigned integer of more than 8 bits.
    fn unsigned(&mut self, bits: u32) -> Result<u128, DecodeError>;

    /// Reads a character.
    fn char(&mut self) -> Result<char, DecodeError>;

    /// Reads a byte.
    fn byte(&mut self) -> Result<u8, DecodeError> {
        Ok(self.take(1)?[0])
    }

    /// Reads a signed integer of more than 8 bits, whose sign is in the lowest bit.
    fn signed(&mut self, bits: u32) -> Result<i128, DecodeError> {
        let folded = self.unsigned(bits)?;
        Ok((folded >> 1) as i128 ^ -((folded & 1) as i128))
    }

    /// Reads a byte that is 0 or 1.
    fn flag(&mut self) -> Result<bool, DecodeError> {
        match self.byte()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(damaged("a flag")),
        }
    }

    /// Reads the number of elements or bytes that follow.
    fn len(&mut self) -> Result<u64, DecodeError> {
        u64::try_from(self.unsigned(64)?).map_err(|_| damaged("a length"))
    }

    /// Reads bytes after their number.
    fn bytes(&mut self) -> Result<&'p [u8], DecodeError> {
        let count = usize::try_from(self.len()?).map_err(|_| damaged("a length"))?;
        self.take(count)
    }

    /// Reads a text after its length.
    fn text(&mut self) -> Result<&'p str, DecodeError> {
        std::str::from_utf8(self.bytes()?).map_err(|_| damaged("a text"))
    }
}

/// The error that a part of a payload is not as its layout says.
pub(super) fn damaged(what: &str) -> DecodeError {
    DecodeError::new(format!(
        "the payload is not of this layout: {what} is wrong"
    ))
}

/// Takes bytes from the front of a payload.
pub(super) fn take_from<'p>(rest: &mut &'p [u8], count: usize) -> Result<&'p [u8], DecodeError> {
    let Some((taken, left)) = rest.split_at_checked(count) else {
        return Err(DecodeError::new(
            "the payload is not of this layout: it ends too early",
        ));
    };
    *rest = left;
    Ok(taken)
}

/// Reads one value.
pub(super) struct Decoder<'l, S> {
    source: S,
    layout: &'l Layout,
    budget: Budget,
}

impl<'l, 'p, S: Source<'p>> Decoder<'l, S> {
    pub(super) fn new(source: S, layout: &'l Layout, budget: Budget) -> Self {
        Self {
            source,
            layout,
            budget,
        }
    }

    /// Reads the value, after which nothing may follow.
    pub(super) fn whole(mut self) -> Result<Value, DecodeError> {
        let value = self.part(&self.layout.value)?;
        match self.source.left() {
            0 => Ok(value),
            left => Err(DecodeError::new(format!("{left} bytes follow the value"))),
        }
    }

    fn part(&mut self, part: &Part) -> Result<Value, DecodeError> {
        self.budget.value()?;
        let source = &mut self.source;
        Ok(match part {
            Part::Bool => source.flag()?.into(),
            Part::I8 => source.byte()?.cast_signed().into(),
            Part::U8 => source.byte()?.into(),
            Part::I16 => signed(source.signed(16)?),
            Part::I32 => signed(source.signed(32)?),
            Part::I64 => signed(source.signed(64)?),
            Part::I128 => signed(source.signed(128)?),
            Part::U16 => unsigned(source.unsigned(16)?),
            Part::U32 => unsigned(source.unsigned(32)?),
            Part::U64 => unsigned(source.unsigned(64)?),
            Part::U128 => unsigned(source.unsigned(128)?),
            Part::F32 => self.f32()?.into(),
            Part::F64 => self.f64()?.into(),
            Part::Char => source.char()?.to_string().into(),
            Part::Str => {
                let text = source.text()?;
                self.budget.text(text)?;
                text.into()
            }
            Part::Bytes => {
                let bytes = source.bytes()?;
                self.budget.bytes(bytes)?;
                bytes.into()
            }
            Part::Unit | Part::UnitStruct(_) => Value::Null,
            Part::Option(some) => match source.flag()? {
                true => self.nested(|this| this.part(some))?,
                false => Value::Null,
            },
            Part::Seq(element) => self.nested(|this| this.elements(element))?,
            Part::Map(entry) => self.nested(|this| this.entries(entry))?,
            Part::Tuple(parts) => self.nested(|this| this.parts(parts))?,
            Part::Type(index) => self.nested(|this| this.named(*index))?,
        })
    }

    /// Reads something one level deeper.
    fn nested<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<T, DecodeError> {
        self.budget.enter()?;
        let read = read(self);
        self.budget.leave();
        read
    }

    fn f32(&mut self) -> Result<f32, DecodeError> {
        let bytes = self.source.take(4)?.try_into();
        Ok(f32::from_le_bytes(bytes.unwrap_or_default()))
    }

    fn f64(&mut self) -> Result<f64, DecodeError> {
        let bytes = self.source.take(8)?.try_into();
        Ok(f64::from_le_bytes(bytes.unwrap_or_default()))
    }

    fn elements(&mut self, element: &Part) -> Result<Value, DecodeError> {
        let count = self.source.len()?;
        let mut elements = Vec::new();
        // Each element spends some of the budget, so that this ends.
        for _ in 0..count {
            elements.push(self.part(element)?);
        }
        Ok(Value::Array(elements))
    }

    fn entries(&mut self, (key, value): &(Part, Part)) -> Result<Value, DecodeError> {
        let count = self.source.len()?;
        let mut entries = Map::new();
        for _ in 0..count {
            let key = self.key(key)?;
            self.budget.entry(entries.len(), &key)?;
            let value = self.part(value)?;
            entries.insert(key, value);
        }
        Ok(Value::Object(entries))
    }

    /// Reads the key of a map as a text.
    fn key(&mut self, part: &Part) -> Result<String, DecodeError> {
        // The other kinds are written in JSON as they are in a value.
        let number = |float: Result<String, _>| float.unwrap_or_default();
        match part {
            Part::F32 => Ok(number(serde_json::to_string(&self.f32()?))),
            Part::F64 => Ok(number(serde_json::to_string(&self.f64()?))),
            _ => self.part(part).map(as_key),
        }
    }

    fn parts(&mut self, parts: &[Part]) -> Result<Value, DecodeError> {
        let parts: Result<_, _> = parts.iter().map(|part| self.part(part)).collect();
        Ok(Value::Array(parts?))
    }

    fn fields(&mut self, fields: &[Field]) -> Result<Value, DecodeError> {
        let mut members = Map::new();
        for field in fields {
            self.budget.entry(members.len(), &field.name)?;
            let value = self.part(&field.part)?;
            members.insert(field.name.clone(), value);
        }
        Ok(Value::Object(members))
    }

    fn members(&mut self, members: &Members) -> Result<Value, DecodeError> {
        match members {
            Members::Unit => Ok(Value::Null),
            Members::Newtype(part) => self.part(part),
            Members::Tuple(parts) => self.parts(parts),
            Members::Struct(fields) => self.fields(fields),
        }
    }

    /// Reads a struct or an enum.
    fn named(&mut self, index: usize) -> Result<Value, DecodeError> {
        let Some(named) = self.layout.types.get(index) else {
            return Err(DecodeError::new("the layout lacks one of its types"));
        };
        let variants = match &named.kind {
            TypeKind::Struct(members) => return self.members(members),
            TypeKind::Enum(variants) => variants,
        };
        let number = usize::try_from(self.source.unsigned(32)?).ok();
        let variant = number.and_then(|number| variants.get(number));
        let variant = variant.ok_or_else(|| damaged("the number of a variant"))?;
        if matches!(variant.members, Members::Unit) {
            self.budget.text(&variant.name)?;
            return Ok(variant.name.as_str().into());
        }
        self.budget.entry(0, &variant.name)?;
        let members = self.members(&variant.members)?;
        Ok(Value::Object(Map::from_iter([(
            variant.name.clone(),
            members,
        )])))
    }
}

/// Returns an integer as `serde_json` has it, or its digits if that cannot have it.
fn unsigned(number: u128) -> Value {
    match u64::try_from(number) {
        Ok(number) => Number::from(number).into(),
        Err(_) => number.to_string().into(),
    }
}

fn signed(number: i128) -> Value {
    match (u64::try_from(number), i64::try_from(number)) {
        (Ok(number), _) => Number::from(number).into(),
        (_, Ok(number)) => Number::from(number).into(),
        (Err(_), Err(_)) => number.to_string().into(),
    }
}

/// Returns the key of a map as the text that `serde_json` makes of it.
pub(super) fn as_key(key: Value) -> String {
    match key {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
