//! The trace: one key for each access.

use std::io::Read;

use crate::failure::Failure;

/// Number of keys of the built-in trace, and its length.
const ZIPF_KEYS: f64 = 100_000.0;
const ZIPF_ACCESSES: usize = 1_000_000;

/// The name of the standard input.
const INPUT: &str = "-";

/// Returns the keys in order of access.
///
/// # Errors
/// The trace cannot be read, is empty, or is not text.
pub(super) fn read(name: Option<&str>) -> Result<Vec<String>, Failure> {
    let Some(name) = name else {
        return Ok(zipf());
    };
    let bytes = match name {
        INPUT => {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map(|_| bytes)
        }
        file => std::fs::read(file),
    };
    let bytes = bytes.map_err(|error| {
        Failure::usage(
            format!("the trace `{name}` cannot be read: {error}"),
            "name a file with a key on each line, or `-` for the standard input",
        )
    })?;
    lines(name, &bytes)
}

fn lines(name: &str, bytes: &[u8]) -> Result<Vec<String>, Failure> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(
            format!("line {line} of the trace `{name}` is not UTF-8"),
            "write a key of text on each line",
        )
    })?;
    if text.is_empty() {
        return Err(Failure::usage(
            format!("the trace `{name}` is empty"),
            "write a key on each line",
        ));
    }
    Ok(text.lines().map(str::to_owned).collect())
}

/// Returns a trace in which the frequency of the n-th key is proportional to 1 / n.
fn zipf() -> Vec<String> {
    let mut random = fastrand::Rng::with_seed(7);
    (0..ZIPF_ACCESSES)
        .map(|_| (ZIPF_KEYS.powf(random.f64()) as u64).to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_a_key_and_the_last_one_needs_no_end() {
        assert_eq!(lines("t", b"a\r\nb\n\na").unwrap(), ["a", "b", "", "a"]);
    }

    #[test]
    fn line_that_is_not_text_is_named() {
        let failure = lines("t", b"a\nb\n\xff\n").unwrap_err();
        assert_eq!(failure.exit_code, 2);
        assert!(failure.to_string().contains("line 3 of the trace `t`"));
    }
}
