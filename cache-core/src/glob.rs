//! Patterns of keys, by the rules of Redis, so that they mean the same in every tier.

use std::fmt;

use crate::error::Error;
use crate::key::is_cut;

/// A pattern of a key's arguments, as a shared tier shows them: `*` is any number of characters, `?` one, `[a-c]` one of
/// those, `[^a]` one that is not, `\*` the character itself. It is matched with the whole.
///
/// Arguments that are too long to be shown whole match every pattern: what is left out of them may.
#[derive(Clone, PartialEq, Eq)]
pub struct Glob {
    text: String,
    pieces: Vec<Piece>,
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
    /// A pattern.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration): a bracket that is not closed, or a `\` with nothing behind it.
    pub fn new(text: &str) -> Result<Self, Error> {
        let wrong = |what: &str| Error::configuration(format!("read the pattern `{text}`: {what}"));
        let mut pieces = Vec::new();
        let mut rest = text.chars().peekable();
        while let Some(c) = rest.next() {
            let piece = match c {
                '*' if pieces.last() == Some(&Piece::AnyNumber) => continue,
                '*' => Piece::AnyNumber,
                '?' => Piece::Any,
                '\\' => Piece::Is(rest.next().ok_or_else(|| wrong("a `\\` ends it"))?),
                '[' => {
                    let is_negated = rest.next_if_eq(&'^').is_some();
                    let mut ranges = Vec::new();
                    loop {
                        let open = || wrong("a `[` is not closed");
                        let first = match rest.next().ok_or_else(open)? {
                            ']' => break,
                            '\\' => rest.next().ok_or_else(open)?,
                            c => c,
                        };
                        let mut last = first;
                        if rest.next_if_eq(&'-').is_some() {
                            last = rest.next().ok_or_else(open)?;
                        }
                        ranges.push((first.min(last), first.max(last)));
                    }
                    Piece::OneOf { ranges, is_negated }
                }
                c => Piece::Is(c),
            };
            pieces.push(piece);
        }
        Ok(Self {
            text: text.to_owned(),
            pieces,
        })
    }

    /// Whether these are arguments that it means. In time that grows with the product of both lengths at most.
    #[must_use]
    pub fn matches(&self, arguments: &str) -> bool {
        if is_cut(arguments) {
            return true;
        }
        let arguments: Vec<char> = arguments.chars().collect();
        let (mut piece, mut at) = (0, 0);
        // Behind the last `*`: where the pattern goes on, and what that has taken so far.
        let mut star: Option<(usize, usize)> = None;
        while at < arguments.len() {
            match self.pieces.get(piece) {
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
        self.pieces[piece..]
            .iter()
            .all(|piece| *piece == Piece::AnyNumber)
    }
}

impl Piece {
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
    fn patterns_mean_what_they_mean_in_redis() {
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
    fn what_is_not_shown_whole_matches() {
        let glob = Glob::new("west,*").unwrap();
        let digest = "0123456789abcdef".repeat(2);
        let cut = |kept: usize| format!("{}~{digest}", "e".repeat(kept));
        assert!(glob.matches(&cut(120)) && glob.matches(&cut(117)));
        assert!(!glob.matches(&cut(100)) && !glob.matches(&"e".repeat(153)));
    }

    #[test]
    fn no_pattern_takes_for_ever() {
        let none = Glob::new(&("a*".repeat(30) + "z")).unwrap();
        assert!(!none.matches(&"a".repeat(5_000)));
    }
}
