//! Patterns for keys, with the syntax of Redis, so that they have the same meaning in every tier.

use std::fmt;
use std::iter::Peekable;
use std::str::Chars;

use crate::error::Error;
use crate::key::is_cut;

/// A pattern for the arguments of a key, as shared tiers show them.
///
/// `*` matches any number of characters, `?` one character, `[a-c]` one of these characters, `[^a]`
/// any character but this one, and `\*` the character itself. The pattern has to match all
/// arguments.
///
/// Numbers match as they are written in a call, and with the type that shared tiers append to them:
/// `1` and `1i64` both match the key `1i64`, and `1,*` matches `1i64,tea`.
///
/// Arguments that are too long to be shown in full match every pattern, because the part that is
/// not shown may match.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    pieces: Vec<Piece>,
    /// Pieces of the pattern without the types behind its numbers, if it has any.
    untyped: Option<Vec<Piece>>,
}

#[derive(Clone, PartialEq, Eq)]
enum Piece {
    Is(char),
    Any,
    AnyNumber,
    OneOf {
        ranges: Vec<(char, char)>,
        is_negated: bool,
    },
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration): a bracket is not closed, or the pattern
    /// ends with a `\`.
    pub fn new(text: &str) -> Result<Self, Error> {
        // A type before a `*` is kept: `1u8*` without its type would be `1*`, which matches `10`.
        let untyped = without_types(text, "*?[\\");
        let untyped = (untyped != text)
            .then(|| Self::parse(&untyped))
            .transpose()?;
        Ok(Self {
            pieces: Self::parse(text)?,
            untyped,
            text: text.to_owned(),
        })
    }

    fn parse(text: &str) -> Result<Vec<Piece>, Error> {
        let wrong = |what: &str| Error::configuration(format!("pattern `{text}` {what}"));
        let mut pieces = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let piece = match c {
                '*' if pieces.last() == Some(&Piece::AnyNumber) => continue,
                '*' => Piece::AnyNumber,
                '?' => Piece::Any,
                '\\' => Piece::Is(rest.next().ok_or_else(|| wrong("ends with a `\\`"))?),
                '[' => {
                    Piece::one_of(&mut rest).ok_or_else(|| wrong("has a `[` that is not closed"))?
                }
                c => Piece::Is(c),
            };
            pieces.push(piece);
        }
        Ok(pieces)
    }

    /// Returns `true` if the pattern matches these arguments.
    ///
    /// The time is at most proportional to the product of both lengths.
    #[must_use]
    pub fn matches(&self, arguments: &str) -> bool {
        if is_cut(arguments) {
            return true;
        }
        let untyped = without_types(arguments, "");
        matches(&self.pieces, arguments)
            || matches(&self.pieces, &untyped)
            || self
                .untyped
                .as_ref()
                .is_some_and(|pieces| matches(pieces, &untyped))
    }
}

/// Types that are shown behind numbers. A number without a type is a `u64`.
const TYPES: &[&str] = &[
    "i8", "i16", "i32", "i64", "i128", "u8", "u16", "u32", "u128", "f32", "f64",
];

/// Returns rendered arguments, or a pattern, without the types behind numbers: `1i64,2` as `1,2`.
///
/// A number that is followed by a character of `kept_before` keeps its type. A part of a longer
/// text that looks like a number may lose its end as well: then a pattern matches more texts, never
/// fewer.
fn without_types(text: &str, kept_before: &str) -> String {
    let is_of_word = |c: char| c.is_alphanumeric() || "_.@%'".contains(c);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if !c.is_ascii_digit() || out.chars().next_back().is_some_and(is_of_word) {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        }
        let end = rest.find(|c: char| !is_of_word(c)).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        let is_kept = after.starts_with(|c| kept_before.contains(c));
        let number = TYPES
            .iter()
            .find_map(|of| word.strip_suffix(of))
            .filter(|number| !is_kept && number.ends_with(|c: char| c.is_ascii_digit()));
        out.push_str(number.unwrap_or(word));
        rest = after;
    }
    out
}

fn matches(pieces: &[Piece], arguments: &str) -> bool {
    let arguments: Vec<char> = arguments.chars().collect();
    let (mut piece, mut at) = (0, 0);
    // The piece after the last `*`, and the number of characters before the match of that piece.
    // If a later piece does not match, the `*` takes one more character.
    let mut star: Option<(usize, usize)> = None;
    while at < arguments.len() {
        match pieces.get(piece) {
            Some(Piece::AnyNumber) => {
                piece += 1;
                star = Some((piece, at));
            }
            Some(one) if one.is(arguments[at]) => {
                piece += 1;
                at += 1;
            }
            _ => match &mut star {
                None => return false,
                Some((begins, taken)) => {
                    *taken += 1;
                    (piece, at) = (*begins, *taken);
                }
            },
        }
    }
    pieces[piece..]
        .iter()
        .all(|piece| *piece == Piece::AnyNumber)
}

impl Piece {
    /// Parses the rest of a bracket. Returns `None` if the bracket is not closed.
    fn one_of(rest: &mut Peekable<Chars<'_>>) -> Option<Self> {
        let is_negated = rest.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        loop {
            let first = match rest.next()? {
                ']' => return Some(Self::OneOf { ranges, is_negated }),
                '\\' => rest.next()?,
                c => c,
            };
            let last = match rest.next_if_eq(&'-') {
                Some(_) => rest.next()?,
                None => first,
            };
            ranges.push((first.min(last), first.max(last)));
        }
    }

    fn is(&self, c: char) -> bool {
        match self {
            Self::Is(own) => *own == c,
            Self::Any => true,
            Self::AnyNumber => false,
            Self::OneOf { ranges, is_negated } => {
                let is_in = ranges
                    .iter()
                    .any(|(first, last)| (*first..=*last).contains(&c));
                is_in != *is_negated
            }
        }
    }
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_the_same_texts_as_in_redis() {
        for (pattern, matches, others) in [
            ("", &[""][..], &["a"][..]),
            ("*", &["", "a", "a,b"], &[]),
            ("42,*", &["42,", "42,x"], &["42", "142,x"]),
            ("*,b", &["a,b", ",b", "b,b,b"], &["b", "a,bc"]),
            ("h?llo", &["hello", "hällo"], &["hllo", "heello"]),
            ("h[ae]llo", &["hallo", "hello"], &["hillo"]),
            ("h[^e]llo", &["hallo"], &["hello", "hllo"]),
            ("[a-c][c-a]", &["ac", "bb"], &["ad"]),
            (r"\*[\]x]", &["*]", "*x"], &["a]"]),
            ("a*b*c", &["abc", "a,b,c", "abbcc"], &["ab", "acb"]),
            ("**a", &["a", "ba"], &["b"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for text in matches {
                assert!(glob.matches(text), "{pattern:?} {text:?}");
            }
            for text in others {
                assert!(!glob.matches(text), "{pattern:?} {text:?}");
            }
        }
        for wrong in ["[a", "[", "a\\", "[a-"] {
            assert!(Glob::new(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn number_matches_as_it_is_written_in_the_call_and_with_its_type() {
        for (pattern, matches, others) in [
            (
                "1",
                &["1i64", "1", "1u8"][..],
                &["11i64", "-1i64", "'1i64'"][..],
            ),
            ("1i64", &["1i64", "1"], &["11i64", "21i64"]),
            ("-7", &["-7i32"], &["7i32", "-17i32"]),
            ("1,*", &["1i64,tea", "1i64,"], &["11i64,tea"]),
            ("*,2,true", &["tea,2u8,true"], &["tea,12u8,true"]),
            ("1i64,2", &["1i64,2u8", "1,2u8"], &["1i64,22u8"]),
            ("[1-3]", &["2i32"], &["4i32", "12i32"]),
            ("1u8*", &["1u8", "1u8,x"], &["10u8"]),
            ("1.5", &["1.5f64"], &["11.5f64"]),
            ("[1,2]", &["1i32"], &["3i32"]),
            (r"\[1,2\]", &["[1i32,2i32]"], &["[1i32]"]),
            (".ByAge=3", &[".ByAge=3u8"], &[".ByAge=33u8"]),
            ("user:1:x", &["user:1i64:x"], &["user:11i64:x"]),
            ("a1u8", &["a1u8"], &["a1"]),
        ] {
            let glob = Glob::new(pattern).unwrap();
            for text in matches {
                assert!(glob.matches(text), "{pattern:?} {text:?}");
            }
            for text in others {
                assert!(!glob.matches(text), "{pattern:?} {text:?}");
            }
        }
    }

    #[test]
    fn arguments_that_are_not_shown_in_full_match_every_pattern() {
        let glob = Glob::new("west,*").unwrap();
        let digest = "0123456789abcdef".repeat(2);
        let cut = |kept: usize| format!("{}~{digest}", "e".repeat(kept));
        assert!(glob.matches(&cut(120)) && glob.matches(&cut(117)));
        assert!(!glob.matches(&cut(100)) && !glob.matches(&"e".repeat(153)));
    }

    #[test]
    fn pattern_with_many_stars_does_not_take_exponential_time() {
        let none = Glob::new(&("a*".repeat(30) + "z")).unwrap();
        assert!(!none.matches(&"a".repeat(5_000)));
    }
}
