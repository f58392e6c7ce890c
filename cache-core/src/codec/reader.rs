//! The source from which a value type reads: a record in postcard's format or, to find its shape,
//! from made-up answers.
//!
//! Both are one [`Deserializer`](serde::Deserializer), because serde compiles the code of a value
//! type once more for each deserializer that it meets. For the same reason the functions here are
//! not generic and are not inlined: they are compiled once, in this crate. The part that is
//! compiled for each value type is [`deserializer`](super::deserializer).

use std::fmt;

use serde::{Deserialize, de};

use super::draft::{Event, Heading, Parts};
use super::tracer::{Opened, Tracer};

/// Answers the questions of a value type, in the order in which it asks them.
pub(super) struct Reader<'de, 't> {
    /// The part of the record that is not read yet.
    rest: &'de [u8],
    /// `Some` if answers are made up.
    tracer: Option<&'t mut Tracer>,
}

impl<'de, 't> Reader<'de, 't> {
    /// Reads a record.
    pub(super) fn record(bytes: &'de [u8]) -> Self {
        Self {
            rest: bytes,
            tracer: None,
        }
    }

    /// Makes up the answers, and has `tracer` note the questions.
    pub(super) fn traced(tracer: &'t mut Tracer) -> Self {
        Self {
            rest: &[],
            tracer: Some(tracer),
        }
    }

    /// Returns the number of bytes that were not read.
    pub(super) fn left(&self) -> usize {
        self.rest.len()
    }

    /// Reads a value that has no parts.
    fn take<T: Deserialize<'de>>(&mut self) -> Result<T, ReadError> {
        let (value, rest) = postcard::take_from_bytes(self.rest).map_err(ReadError::Record)?;
        self.rest = rest;
        Ok(value)
    }

    /// Reads the length of a sequence or a map.
    fn take_len(&mut self) -> Result<usize, ReadError> {
        let len: u64 = self.take()?;
        usize::try_from(len)
            .map_err(|_| ReadError::Record(postcard::Error::DeserializeUnexpectedEnd))
    }

    #[inline(never)]
    pub(super) fn text(&mut self) -> Result<&'de str, ReadError> {
        match &mut self.tracer {
            None => self.take(),
            Some(tracer) => {
                tracer.note_scalar("str");
                Ok(tracer.next_text())
            }
        }
    }

    #[inline(never)]
    pub(super) fn bytes(&mut self) -> Result<&'de [u8], ReadError> {
        match &mut self.tracer {
            None => self.take(),
            Some(tracer) => {
                tracer.note_scalar("bytes");
                // A UUID asks for 16 bytes. A type that takes any number takes 16 too.
                Ok(&[0; 16])
            }
        }
    }

    /// Returns `true` if an optional value is there.
    #[inline(never)]
    pub(super) fn is_some(&mut self) -> Result<bool, ReadError> {
        let Some(tracer) = &mut self.tracer else {
            // Its encoding is that of a `bool`, and an error says which of the two it was.
            return match self.rest.split_first() {
                Some((flag @ (0 | 1), rest)) => {
                    self.rest = rest;
                    Ok(*flag == 1)
                }
                Some(_) => Err(ReadError::Record(postcard::Error::DeserializeBadOption)),
                None => Err(ReadError::Record(postcard::Error::DeserializeUnexpectedEnd)),
            };
        };
        tracer.note("option");
        tracer.sketch(Event::Parts(Parts::Option));
        // Without this a list linked through `Option<Box<Self>>` would never end.
        Ok(!tracer.is_silent())
    }

    /// Returns the number of elements of a sequence or of entries of a map.
    #[inline(never)]
    pub(super) fn elements(&mut self, kind: Parts) -> Result<usize, ReadError> {
        match &mut self.tracer {
            None => self.take_len(),
            Some(tracer) => {
                tracer.note(kind.name());
                tracer.sketch(Event::Parts(kind));
                Ok(usize::from(!tracer.is_silent()))
            }
        }
    }

    #[inline(never)]
    pub(super) fn note_unit(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note_scalar("unit");
        }
    }

    #[inline(never)]
    pub(super) fn note_unit_struct(&mut self, name: &str) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note(name);
            tracer.sketch(Event::UnitStruct(name));
        }
    }

    #[inline(never)]
    pub(super) fn note_unit_variant(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note("unit");
            tracer.sketch(Event::UnitVariant);
        }
    }

    #[inline(never)]
    pub(super) fn note_tuple_variant(&mut self, len: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note(&format!("tuple{len}"));
            tracer.sketch(Event::TupleVariant(len));
        }
    }

    /// Notes the fields of a variant. In the description, nothing marks them as such, and that
    /// must not change: fingerprints are made of it. The draft tells them apart.
    #[inline(never)]
    pub(super) fn note_fields(&mut self, fields: &'static [&'static str]) {
        if let Some(tracer) = &mut self.tracer {
            for field in fields {
                tracer.note(field);
            }
            tracer.sketch(Event::StructVariant(fields));
        }
    }

    #[inline(never)]
    pub(super) fn note_tuple(&mut self, len: usize) {
        if let Some(tracer) = &mut self.tracer {
            tracer.note(&format!("tuple{len}"));
            tracer.sketch(Event::Parts(Parts::Tuple(len)));
        }
    }

    /// Goes into the parts of a value. [`leave`](Self::leave) ends that.
    ///
    /// # Errors
    /// The type that is traced is nested too deeply. A type that holds itself without a name
    /// between (`#[serde(transparent)]`) would otherwise be followed until the stack overflows.
    #[inline(never)]
    pub(super) fn enter(&mut self) -> Result<(), ReadError> {
        let is_traceable = match &mut self.tracer {
            Some(tracer) => tracer.enter_parts(),
            None => true,
        };
        is_traceable.then_some(()).ok_or(ReadError::Unsupported)
    }

    #[inline(never)]
    pub(super) fn leave(&mut self) {
        if let Some(tracer) = &mut self.tracer {
            tracer.leave_parts();
        }
    }

    /// Begins a struct. `kind` is the heading of its description.
    #[inline(never)]
    pub(super) fn open(
        &mut self,
        rust_type: &'static str,
        name: &'static str,
        fields: &'static [&'static str],
        kind: Heading,
    ) -> Result<Option<Opened>, ReadError> {
        match &mut self.tracer {
            None => Ok(None),
            Some(tracer) => match tracer.open((rust_type, name, fields), kind) {
                None => Err(ReadError::Unsupported),
                opened => Ok(opened),
            },
        }
    }

    /// Begins an enum, and returns the number of its variant.
    #[inline(never)]
    pub(super) fn open_enum(
        &mut self,
        rust_type: &'static str,
        name: &'static str,
        variants: &'static [&'static str],
    ) -> Result<(u32, Option<Opened>), ReadError> {
        match &mut self.tracer {
            None => Ok((self.take()?, None)),
            Some(tracer) => {
                let (index, opened) = tracer
                    .open_enum((rust_type, name, variants))
                    .ok_or(ReadError::Unsupported)?;
                Ok((u32::try_from(index).unwrap_or(u32::MAX), Some(opened)))
            }
        }
    }

    /// Ends a struct or an enum.
    #[inline(never)]
    pub(super) fn close(&mut self, opened: Option<Opened>) {
        if let (Some(tracer), Some(opened)) = (&mut self.tracer, opened) {
            tracer.close(opened);
        }
    }

    /// Returns `true` unless so many elements cannot be in the rest of the record.
    pub(super) fn may_hold(&self, elements: usize) -> bool {
        self.tracer.is_some() || elements <= self.rest.len()
    }

    #[cold]
    pub(super) fn unsupported(&self) -> ReadError {
        match self.tracer {
            None => ReadError::Record(postcard::Error::WontImplement),
            Some(_) => ReadError::Unsupported,
        }
    }
}

/// A value could not be read.
#[derive(Debug)]
pub(super) enum ReadError {
    /// The bytes are no record of the type.
    Record(postcard::Error),
    /// The type refused a part that was read or made up.
    Refused,
    /// The type asks what the bytes are, and there are none.
    Unsupported,
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Record(error) => error.fmt(f),
            Self::Refused => f.write_str("the type refused a part of the value"),
            Self::Unsupported => f.write_str("the shape of the type cannot be traced"),
        }
    }
}

impl std::error::Error for ReadError {}

impl de::Error for ReadError {
    #[cold]
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self::Refused
    }
}

/// Functions that read a scalar, with the answer that is made up.
macro_rules! scalars {
    ($($kind:ident = $made_up:literal;)*) => {
        impl Reader<'_, '_> {
            $(
                #[inline(never)]
                pub(super) fn $kind(&mut self) -> Result<$kind, ReadError> {
                    match &mut self.tracer {
                        None => self.take(),
                        Some(tracer) => {
                            tracer.note_scalar(stringify!($kind));
                            Ok($made_up)
                        }
                    }
                }
            )*
        }
    };
}

scalars! {
    bool = false;
    i8 = 1;
    i16 = 1;
    i32 = 1;
    i64 = 1;
    i128 = 1;
    u16 = 1;
    u32 = 1;
    u64 = 1;
    u128 = 1;
    f32 = 1.0;
    f64 = 1.0;
    char = 'a';
}

impl Reader<'_, '_> {
    /// Byte strings that are not marked as such are read by this, so the common case is inlined.
    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, ReadError> {
        match self.rest.split_first() {
            Some((byte, rest)) => {
                self.rest = rest;
                Ok(*byte)
            }
            None => self.u8_slow(),
        }
    }

    #[cold]
    fn u8_slow(&mut self) -> Result<u8, ReadError> {
        match &mut self.tracer {
            None => Err(ReadError::Record(postcard::Error::DeserializeUnexpectedEnd)),
            Some(tracer) => {
                tracer.note_scalar("u8");
                Ok(1)
            }
        }
    }
}
