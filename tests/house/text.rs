//! Comments and string literals of a source file.
//!
//! Syntax trees have no comments, so they are found here. Strings are recognized as well, because
//! they may contain text that looks like a comment.

/// A comment on one line, or one line of a block comment.
#[derive(Debug, PartialEq)]
pub(crate) struct Comment {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// Text after the marker.
    pub(crate) text: String,
}

/// Kind of a comment. Comments of one kind on adjacent lines form one text.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `///`.
    Doc,
    /// `//!`.
    ModuleDoc,
    /// `//` and block comments, `--` in Lua, `#` in scripts.
    Plain,
    /// A comment that follows code on its line.
    Trailing,
}

/// A string literal, at the line on which it begins.
#[derive(Debug, PartialEq)]
pub(crate) struct Literal {
    pub(crate) line: usize,
    pub(crate) text: String,
}

/// Comments and string literals of a Rust source.
#[derive(Debug, Default)]
pub(crate) struct Scan {
    pub(crate) comments: Vec<Comment>,
    pub(crate) literals: Vec<Literal>,
}

/// Finds comments and string literals of a Rust source.
pub(crate) fn scan(source: &str) -> Scan {
    let mut scanner = Scanner {
        rest: source,
        line: 1,
        is_line_empty: true,
        found: Scan::default(),
    };
    while !scanner.rest.is_empty() {
        scanner.step();
    }
    scanner.found
}

/// Finds comments that fill a line and begin with `marker`, as in Lua (`--`) and in shell (`#`).
pub(crate) fn line_comments(source: &str, marker: &str) -> Vec<Comment> {
    let lines = source.lines().enumerate();
    let comments = lines.filter_map(|(at, line)| {
        let text = line.trim_start().strip_prefix(marker)?;
        Some(Comment {
            line: at + 1,
            kind: Kind::Plain,
            text: text.to_owned(),
        })
    });
    comments.collect()
}

struct Scanner<'a> {
    rest: &'a str,
    line: usize,
    /// `true` if only white space was read on this line.
    is_line_empty: bool,
    found: Scan,
}

impl Scanner<'_> {
    fn step(&mut self) {
        if self.rest.starts_with("//") {
            return self.line_comment();
        }
        if self.rest.starts_with("/*") {
            return self.block_comment();
        }
        if let Some(hashes) = raw_string(self.rest) {
            let prefix = self.rest.find('"').expect("the quote of a raw string") + 1;
            let end = format!("\"{}", "#".repeat(hashes));
            return self.literal(prefix, |rest| rest.find(&end).map(|at| (at, end.len())));
        }
        if self.rest.starts_with('"') {
            return self.literal(1, |rest| closing_quote(rest).map(|at| (at, 1)));
        }
        if self.rest.starts_with('\'') {
            return self.advance(character(self.rest));
        }
        // An identifier is skipped as a whole, so that its last letter is no prefix of a string.
        let word = self.rest.find(|c: char| !c.is_alphanumeric() && c != '_');
        let first = self.rest.chars().next().map_or(1, char::len_utf8);
        self.advance(word.unwrap_or(self.rest.len()).max(first));
    }

    fn line_comment(&mut self) {
        let end = self.rest.find('\n').unwrap_or(self.rest.len());
        let (comment, _) = self.rest.split_at(end);
        let (kind, marker) = match comment {
            _ if !self.is_line_empty => (Kind::Trailing, 2),
            _ if comment.starts_with("//!") => (Kind::ModuleDoc, 3),
            _ if comment.starts_with("///") => (Kind::Doc, 3),
            _ => (Kind::Plain, 2),
        };
        self.comment(self.line, kind, comment[marker..].to_owned());
        self.advance(end);
    }

    fn block_comment(&mut self) {
        let (mut depth, mut end) = (0, 0);
        while end < self.rest.len() {
            if self.rest[end..].starts_with("/*") {
                depth += 1;
                end += 2;
            } else if self.rest[end..].starts_with("*/") {
                depth -= 1;
                end += 2;
                if depth == 0 {
                    break;
                }
            } else {
                end += self.rest[end..].chars().next().map_or(1, char::len_utf8);
            }
        }
        for (at, text) in self.rest[..end].lines().enumerate() {
            self.comment(
                self.line + at,
                Kind::Plain,
                text.trim_matches(['/', '*', ' ']).to_owned(),
            );
        }
        self.advance(end);
    }

    fn literal(&mut self, prefix: usize, end: impl Fn(&str) -> Option<(usize, usize)>) {
        let inner = &self.rest[prefix..];
        let (length, quote) = end(inner).unwrap_or((inner.len(), 0));
        self.found.literals.push(Literal {
            line: self.line,
            text: inner[..length].to_owned(),
        });
        self.advance(prefix + length + quote);
    }

    fn comment(&mut self, line: usize, kind: Kind, text: String) {
        self.found.comments.push(Comment { line, kind, text });
    }

    fn advance(&mut self, bytes: usize) {
        let (passed, rest) = self.rest.split_at(bytes);
        self.line += passed.matches('\n').count();
        let last_line = passed.rsplit('\n').next().unwrap_or_default();
        self.is_line_empty =
            (self.is_line_empty || passed.contains('\n')) && last_line.trim().is_empty();
        self.rest = rest;
    }
}

/// Returns the number of hashes if a raw string begins here.
fn raw_string(rest: &str) -> Option<usize> {
    let after = ["r", "br", "cr"]
        .iter()
        .find_map(|prefix| rest.strip_prefix(prefix))?;
    let hashes = after.len() - after.trim_start_matches('#').len();
    after[hashes..].starts_with('"').then_some(hashes)
}

/// Returns the position of the quote that ends a string with escapes.
fn closing_quote(inner: &str) -> Option<usize> {
    let mut is_escaped = false;
    inner.char_indices().find_map(|(at, c)| {
        let is_end = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        is_end.then_some(at)
    })
}

/// Returns the length of a character literal, or 1 for the quote of a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    let escaped = matches!(chars.next(), Some((_, '\\')));
    if escaped {
        return rest[3..].find('\'').map_or(1, |at| at + 4);
    }
    match chars.next() {
        Some((at, '\'')) => at + 1,
        _ => 1,
    }
}

#[test]
fn comments_and_strings_are_found_where_they_are() {
    let text =
        "//! M\n/// D\nlet a = \"x // \\\" y\"; // T\n/* B\n C */ let b = r#\"/* \"r\" */\"#;\n";
    let found = scan(text);
    let comments: Vec<_> = found
        .comments
        .iter()
        .map(|c| (c.line, c.kind, c.text.trim()))
        .collect();
    assert_eq!(
        comments,
        [
            (1, Kind::ModuleDoc, "M"),
            (2, Kind::Doc, "D"),
            (3, Kind::Trailing, "T"),
            (4, Kind::Plain, "B"),
            (5, Kind::Plain, "C"),
        ]
    );
    let literals: Vec<_> = found
        .literals
        .iter()
        .map(|l| (l.line, l.text.as_str()))
        .collect();
    assert_eq!(literals, [(3, "x // \\\" y"), (5, "/* \"r\" */")]);
}

#[test]
fn quotes_of_characters_and_lifetimes_do_not_open_a_string() {
    let found = scan("fn f<'a>(x: &'a str) { ['\"', '\\'', '\\u{22}', 'é']; } // end\nb\"bytes\"");
    assert_eq!(found.comments[0].text, " end");
    assert_eq!(found.literals[0].text, "bytes");
    assert_eq!((found.comments.len(), found.literals.len()), (1, 1));
}

#[test]
fn comments_of_lua_and_shell_are_found() {
    let found = line_comments("  -- KEYS: a\nlocal a = 1 - -1\n", "--");
    assert_eq!((found.len(), found[0].line), (1, 1));
    assert_eq!(found[0].text, " KEYS: a");
}
