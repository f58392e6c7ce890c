//! Renders the arguments of a key, as a person reads them in a shared tier.
//!
//! Numbers look like Rust literals (`42` is a `u64`, `42i32` is an `i32`). Texts are bare if they
//! cannot be mistaken for another value, and quoted otherwise (`alice`, `'42'`, `''`). `None` is
//! `~`. A byte that could be mistaken for structure is percent-encoded. Long keys are cut and end
//! in a digest of the whole.

use std::fmt::Write;

use xxhash_rust::xxh3::xxh3_128;

use super::tag;

/// A piece of a key template, as `key = "user:{id}"` gives it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Piece {
    /// Text that is rendered as it is.
    Literal(&'static str),
    /// The next argument.
    Argument,
    /// The argument at this place, counted from 0. Tags use it, which name the arguments of a key
    /// in any order, and not all of them.
    ArgumentAt(usize),
}

/// The longest rendered arguments. Longer ones are cut to [`KEPT`] and end in `~` and 32 hex
/// digits. Redis keeps whole keys in memory, and a line of a terminal should hold one.
const LONGEST: usize = 160;
const KEPT: usize = 120;

/// Renders encoded arguments by `template`, or separated by commas if that is empty.
pub(crate) fn render(arguments: &[u8], template: &[Piece]) -> String {
    let mut text = String::with_capacity(32);
    let mut reader = Reader::of_list(arguments);
    if template.is_empty() {
        let mut first = true;
        while !reader.at_end() {
            if !std::mem::take(&mut first) {
                text.push(',');
            }
            reader.value(&mut text);
        }
    } else {
        for piece in template {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Argument => reader.value(&mut text),
                Piece::ArgumentAt(at) => Reader::of_list(arguments).nth(*at, &mut text),
            }
        }
    }
    if text.len() > LONGEST {
        text.truncate(text.floor_char_boundary(KEPT));
        let _ = write!(text, "~{:032x}", xxh3_128(arguments));
    }
    text
}

/// Renders the text of a tag. Arguments are written as [`render`] writes them, except that an
/// integer is written without its type: a tag that is invalidated with a `u64` is the one of a
/// function whose argument is an `i32`. The text is never cut.
///
/// `arguments` is `None` if they cannot be encoded. Each of them is then a `!`, which no argument
/// is written as.
pub(crate) fn render_tag(arguments: Option<&[u8]>, template: &[Piece]) -> String {
    let mut text = String::with_capacity(32);
    let untyped = |arguments| Reader {
        shows_types: false,
        ..Reader::of_list(arguments)
    };
    let mut next = untyped(arguments.unwrap_or_default());
    for piece in template {
        match (piece, arguments) {
            (Piece::Literal(literal), _) => text.push_str(literal),
            (Piece::Argument | Piece::ArgumentAt(_), None) => text.push('!'),
            (Piece::Argument, Some(_)) => next.value(&mut text),
            (Piece::ArgumentAt(at), Some(arguments)) => untyped(arguments).nth(*at, &mut text),
        }
    }
    text
}

/// Returns `true` if rendered arguments may have been cut.
pub(crate) fn is_cut(text: &str) -> bool {
    let Some((kept, digest)) = text.rsplit_once('~') else {
        return false;
    };
    // A character that was cut off has at most four bytes.
    (KEPT - 3..=KEPT).contains(&kept.len())
        && digest.len() == 32
        && digest.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Reads encoded arguments. Bytes that no encoder writes end the reading early, without a panic.
pub(super) struct Reader<'a> {
    pub(super) rest: &'a [u8],
    /// Integers are written with their type.
    shows_types: bool,
}

impl<'a> Reader<'a> {
    pub(super) fn new(rest: &'a [u8]) -> Self {
        Self {
            rest,
            shows_types: true,
        }
    }

    /// Makes a reader of the values in a list of arguments. The list is one tuple; a tuple of none
    /// is a unit.
    fn of_list(arguments: &'a [u8]) -> Self {
        let mut this = Self::new(arguments);
        this.byte();
        this
    }

    /// Renders the value after the next `n`.
    fn nth(mut self, n: usize, out: &mut String) {
        let mut skipped = String::new();
        for _ in 0..n {
            self.value(&mut skipped);
        }
        self.value(out);
    }

    pub(super) fn at_end(&self) -> bool {
        matches!(self.rest.first(), None | Some(&tag::END))
    }

    pub(super) fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or(tag::END)
    }

    fn take(&mut self, len: usize) -> &'a [u8] {
        let (taken, rest) = self.rest.split_at(len.min(self.rest.len()));
        self.rest = rest;
        taken
    }

    pub(super) fn number<const N: usize>(&mut self) -> [u8; N] {
        self.take(N).try_into().unwrap_or([0; N])
    }

    pub(super) fn text(&mut self) -> &'a [u8] {
        let len = u32::from_le_bytes(self.number());
        self.take(len as usize)
    }

    fn value(&mut self, out: &mut String) {
        let kind = self.byte();
        if self.integer(kind, out).is_some() {
            return;
        }
        // Writing to a `String` cannot fail.
        let _ = match kind {
            tag::FALSE => write!(out, "false"),
            tag::TRUE => write!(out, "true"),
            tag::F32 => write!(out, "{:?}f32", f32::from_le_bytes(self.number())),
            tag::F64 => write!(out, "{:?}f64", f64::from_le_bytes(self.number())),
            tag::CHAR => {
                let c = char::from_u32(u32::from_le_bytes(self.number())).unwrap_or('\u{FFFD}');
                out.push('\'');
                escape(c.encode_utf8(&mut [0; 4]), out);
                out.push_str("'c");
                Ok(())
            }
            tag::STR => {
                string(&String::from_utf8_lossy(self.text()), out);
                Ok(())
            }
            tag::BYTES => {
                out.push('x');
                hex(self.text(), out);
                Ok(())
            }
            tag::NONE => {
                out.push('~');
                Ok(())
            }
            tag::SOME => {
                let start = out.len();
                self.value(out);
                // `Some(None)` has one `~` more than `None`.
                if out[start..].starts_with('~') {
                    out.insert(start, '~');
                }
                Ok(())
            }
            tag::UNIT => write!(out, "()"),
            tag::VARIANT => {
                out.push('.');
                escape(&String::from_utf8_lossy(self.text()), out);
                if self.rest.first() == Some(&tag::UNIT) {
                    self.byte();
                } else {
                    out.push('=');
                    self.value(out);
                }
                Ok(())
            }
            tag::SEQUENCE => {
                self.sequence(out);
                Ok(())
            }
            tag::STRUCT => {
                self.pairs(out, '(', ')', |reader, out| {
                    reader.byte();
                    escape(&String::from_utf8_lossy(reader.text()), out);
                });
                Ok(())
            }
            tag::MAP => {
                self.pairs(out, '<', '>', |reader, out| reader.value(out));
                Ok(())
            }
            _ => {
                self.rest = &[];
                Ok(())
            }
        };
    }

    /// Renders an integer of this kind, with its type if that is not `u64`. Returns `None` if the
    /// kind is not that of an integer.
    fn integer(&mut self, kind: u8, out: &mut String) -> Option<()> {
        let mut digits = itoa::Buffer::new();
        let (number, type_name) = match kind {
            tag::I8 => (digits.format(i8::from_le_bytes(self.number())), "i8"),
            tag::I16 => (digits.format(i16::from_le_bytes(self.number())), "i16"),
            tag::I32 => (digits.format(i32::from_le_bytes(self.number())), "i32"),
            tag::I64 => (digits.format(i64::from_le_bytes(self.number())), "i64"),
            tag::I128 => (digits.format(i128::from_le_bytes(self.number())), "i128"),
            tag::U8 => (digits.format(u8::from_le_bytes(self.number())), "u8"),
            tag::U16 => (digits.format(u16::from_le_bytes(self.number())), "u16"),
            tag::U32 => (digits.format(u32::from_le_bytes(self.number())), "u32"),
            tag::U64 => (digits.format(u64::from_le_bytes(self.number())), ""),
            tag::U128 => (digits.format(u128::from_le_bytes(self.number())), "u128"),
            _ => return None,
        };
        out.push_str(number);
        if self.shows_types {
            out.push_str(type_name);
        }
        Some(())
    }

    fn sequence(&mut self, out: &mut String) {
        out.push('[');
        let mut first = true;
        while !self.at_end() {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            self.value(out);
        }
        self.byte();
        out.push(']');
    }

    fn pairs(
        &mut self,
        out: &mut String,
        open: char,
        close: char,
        name: impl Fn(&mut Self, &mut String),
    ) {
        out.push(open);
        let mut first = true;
        while !self.at_end() {
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            name(self, out);
            out.push('=');
            self.value(out);
        }
        self.byte();
        out.push(close);
    }
}

/// Returns a text as it is in the name of a key if it is the argument of a function: bare if it
/// cannot be mistaken for another value, and quoted otherwise.
#[cfg(feature = "inspect")]
#[must_use]
pub fn text_argument(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    string(text, &mut out);
    out
}

fn is_plain(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '@')
}

fn string(text: &str, out: &mut String) {
    let bare = text.starts_with(char::is_alphabetic)
        && text.chars().all(is_plain)
        && !matches!(
            text,
            "true" | "false" | "x" | "inff32" | "inff64" | "NaNf32" | "NaNf64"
        )
        && !looks_like_hex(text);
    if bare {
        out.push_str(text);
    } else {
        out.push('\'');
        escape(text, out);
        out.push('\'');
    }
}

/// Returns `true` for a text that looks like rendered bytes, such as `x0a1b`.
fn looks_like_hex(text: &str) -> bool {
    text.strip_prefix('x')
        .is_some_and(|rest| rest.chars().all(|c| c.is_ascii_hexdigit() || c == '-'))
}

fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        if is_plain(c) {
            out.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
}

/// Renders sixteen bytes like a UUID, and others as plain digits.
fn hex(bytes: &[u8], out: &mut String) {
    for (at, byte) in bytes.iter().enumerate() {
        if bytes.len() == 16 && matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        let _ = write!(out, "{byte:02x}");
    }
}
