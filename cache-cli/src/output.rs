//! The output of the program.

use std::error::Error;
use std::fmt::{self, Write as _};
use std::io::{self, Write};

use serde_json::{Value, json};

/// The standard output. Each line is written at once, so that a reader of a pipe sees it.
#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) is_json: bool,
}

impl Output {
    /// Writes a line. Control characters are escaped: keys and values come from elsewhere, and a
    /// terminal would obey them.
    pub(crate) fn line(&self, text: &str) -> io::Result<()> {
        self.bytes(format!("{}\n", printable(text)).as_bytes())
    }

    /// Writes a document on one line, or over several in a form for people.
    pub(crate) fn document(&self, value: &Value) -> io::Result<()> {
        match self.is_json {
            true => self.line(&value.to_string()),
            false => {
                let text = serde_json::to_string_pretty(value).unwrap_or_default();
                text.lines().try_for_each(|line| self.line(line))
            }
        }
    }

    /// Writes a note to the standard error, in the form of the output.
    pub(crate) fn note(&self, text: &str, help: Option<&str>) {
        match (self.is_json, help) {
            (true, help) => complain(&json!({"note": text, "help": help}).to_string()),
            (false, Some(help)) => complain(&format!("{text}; help: {help}")),
            (false, None) => complain(text),
        }
    }

    /// Writes bytes as they are.
    pub(crate) fn bytes(&self, bytes: &[u8]) -> io::Result<()> {
        let mut output = io::stdout().lock();
        let written = output.write_all(bytes).and_then(|()| output.flush());
        written.map_err(|error| io::Error::new(error.kind(), Unwritten(error)))
    }

    /// Writes the document if JSON is asked for, else the text, on one line: an entry of a list
    /// must not look like two.
    pub(crate) fn entry(&self, text: &str, document: impl FnOnce() -> Value) -> io::Result<()> {
        match self.is_json {
            true => self.line(&document().to_string()),
            false => self.line(text),
        }
    }

    /// Writes the document if JSON is asked for, else the lines of the text. Its parts that come
    /// from elsewhere must be [`printable`], or they could contain lines of their own.
    pub(crate) fn either(&self, text: &str, document: impl FnOnce() -> Value) -> io::Result<()> {
        match self.is_json {
            true => self.line(&document().to_string()),
            false => text.lines().try_for_each(|line| self.line(line)),
        }
    }
}

/// An error of the standard output, as opposed to other errors of the system.
#[derive(Debug)]
pub(crate) struct Unwritten(io::Error);

impl fmt::Display for Unwritten {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the output cannot be written: {}", self.0)
    }
}

impl Error for Unwritten {}

/// Writes a line to the standard error. A reader that has ended does not change the exit code.
pub(crate) fn complain(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{}", printable(text));
}

/// Returns a text whose control characters are escaped as JSON escapes them, and so are characters
/// that cannot be seen, or that change the order in which others are shown.
pub(crate) fn printable(text: &str) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        if !c.is_control() && !is_unseen(c) {
            printable.push(c);
            continue;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to memory does not fail.
            let _ = write!(printable, "\\u{unit:04x}");
        }
    }
    printable
}

/// Returns `true` for separators of lines and for characters of Unicode's category `Cf` that a
/// terminal does not show.
fn is_unseen(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e007f}'
    )
}

/// Returns a time in milliseconds in a form for people.
pub(crate) fn duration(millis: u64) -> String {
    match millis {
        0..1_000 => format!("{millis} ms"),
        1_000..60_000 => format!("{}.{} s", millis / 1_000, millis % 1_000 / 100),
        60_000..3_600_000 => format!("{} min {} s", millis / 60_000, millis % 60_000 / 1_000),
        3_600_000..86_400_000 => {
            format!(
                "{} h {} min",
                millis / 3_600_000,
                millis % 3_600_000 / 60_000
            )
        }
        _ => format!(
            "{} d {} h",
            millis / 86_400_000,
            millis % 86_400_000 / 3_600_000
        ),
    }
}

/// Returns bytes as pairs of hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut hex = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing to memory does not fail.
        let _ = write!(hex, "{byte:02x}");
    }
    hex
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_do_not_reach_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\u{9b}ß"), "a\\u001b[2Jb\\u009bß");
        assert_eq!(printable("a\nb\u{202e}"), "a\\u000ab\\u202e");
        assert_eq!(
            printable("\u{e0041}🙂"),
            "\\udb40\\udc41🙂",
            "as JSON writes it"
        );
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        for (millis, text) in [
            (999, "999 ms"),
            (1_550, "1.5 s"),
            (61_000, "1 min 1 s"),
            (3_660_000, "1 h 1 min"),
            (90_000_000, "1 d 1 h"),
        ] {
            assert_eq!(duration(millis), text);
        }
    }
}
