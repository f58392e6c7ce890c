//! The names of functions and records, as tiers use them.

use std::sync::Arc;

use crate::key::name_hash;

/// The name of a function, as tiers use it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionKey {
    /// The name. Single colons are escaped, so that `name:version:arguments` can be split in one
    /// way only.
    pub name: String,
    /// The version.
    pub version: u32,
    /// A digest of the name, which is the same in every process. Instances name the function by it
    /// in their messages.
    pub digest: u64,
    /// `true` if the function's records carry [marks](super::Marks): it has tags, or its values can
    /// be expired. A tier with a [ledger](super::Tier::ledger) then grants its leases with a
    /// [`Mark`](super::Mark).
    pub is_marked: bool,
}

/// The name of a record, as tiers use it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordKey {
    /// The function.
    pub function: Arc<FunctionKey>,
    /// The arguments, as readable text of bounded length. Different arguments have different texts.
    /// The text of one key is never that of another key with `#` and something else appended, so a
    /// store may use such names for data that belongs to a key.
    pub arguments: String,
    /// A digest of function and arguments, which is the same in every process. Instances name the
    /// key by it in their messages.
    pub digest: u64,
}

impl FunctionKey {
    /// Returns `name:version`, which can be split in one way only.
    #[must_use]
    pub fn versioned(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// Creates the name of a function from its parts. `name` is escaped already.
    #[must_use]
    pub fn named(name: String, version: u32, digest: u64) -> Self {
        Self {
            name,
            version,
            digest,
            is_marked: false,
        }
    }

    /// Sets whether the function's records carry marks.
    #[must_use]
    pub fn marked(mut self, is_marked: bool) -> Self {
        self.is_marked = is_marked;
        self
    }

    /// Creates the name of a function from the escaped name that a store has found in its keys.
    #[must_use]
    pub fn found(name: String, version: u32) -> Self {
        let digest = name_hash(&unescape_name(&name));
        Self::named(name, version, digest)
    }

    /// Creates the name of a function, and escapes `name`.
    #[must_use]
    pub fn new(name: &str, version: u32) -> Self {
        Self {
            name: escape_name(name),
            version,
            digest: name_hash(name),
            is_marked: false,
        }
    }
}

impl RecordKey {
    /// Returns `name:version:arguments`, which can be split in one way only.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{}:{}:{}",
            self.function.name, self.function.version, self.arguments
        )
    }

    /// Creates the name of a record.
    #[must_use]
    pub fn new(function: Arc<FunctionKey>, arguments: String, digest: u64) -> Self {
        Self {
            function,
            arguments,
            digest,
        }
    }
}

/// Reverses [`escape_name`].
fn unescape_name(name: &str) -> String {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let escaped = (first == b'%')
            .then(|| after.get(..2))
            .flatten()
            .and_then(|digits| u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok());
        match escaped {
            Some(byte) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            None => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Percent-encodes the characters of a name that separate the parts of a key. Names of types, such
/// as `a::b<c::D>`, stay readable.
fn escape_name(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(c) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("::") {
            escaped.push_str("::");
            rest = after;
            continue;
        }
        rest = &rest[c.len_utf8()..];
        if c.is_alphanumeric() || "_-./<>,&()[];+=*".contains(c) {
            escaped.push(c);
        } else {
            for byte in c.encode_utf8(&mut [0; 4]).bytes() {
                escaped.push_str(&format!("%{byte:02X}"));
            }
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn function_found_by_its_escaped_name_is_the_same_function() {
        for name in [
            "a::b",
            "f<[u8; 2]><app::User<'a>>",
            "f<ß:%25>",
            "%",
            "%4",
            "a%41b",
        ] {
            let function = FunctionKey::new(name, 3);
            assert_eq!(FunctionKey::found(function.name.clone(), 3), function);
        }
    }
}
