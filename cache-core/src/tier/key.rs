//! The names of records and functions, as tiers see them.

use std::sync::Arc;

use crate::key::name_hash;

/// The name of a function as tiers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FunctionKey {
    /// Its name; single colons are escaped, so that `name:version:arguments` reads one way only.
    pub name: String,
    /// Its version.
    pub version: u32,
    /// Of the name, the same in every process: what instances call it by among themselves.
    pub digest: u64,
}

/// The name of a record as tiers see it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecordKey {
    /// The function.
    pub function: Arc<FunctionKey>,
    /// Its arguments, readable, of bounded length; different for different arguments. No key of a function is another one with
    /// something added behind a `#`: a store may keep what belongs to a key there.
    pub arguments: String,
    /// Of function and arguments, the same in every process: what instances call the key by among themselves.
    pub digest: u64,
}

impl FunctionKey {
    /// `name:version`; reads one way only.
    #[must_use]
    pub fn versioned(&self) -> String {
        format!("{}:{}", self.name, self.version)
    }

    /// A function's name as it was seen before: `name` is escaped already.
    #[must_use]
    pub fn named(name: String, version: u32, digest: u64) -> Self {
        Self {
            name,
            version,
            digest,
        }
    }

    /// A function by the escaped name that a store has found in its keys.
    #[must_use]
    pub fn found(name: String, version: u32) -> Self {
        let digest = name_hash(&unescape_name(&name));
        Self::named(name, version, digest)
    }

    /// A function's name.
    #[must_use]
    pub fn new(name: &str, version: u32) -> Self {
        Self {
            name: escape_name(name),
            version,
            digest: name_hash(name),
        }
    }
}

impl RecordKey {
    /// `name:version:arguments`; reads one way only.
    #[must_use]
    pub fn name(&self) -> String {
        format!(
            "{}:{}:{}",
            self.function.name, self.function.version, self.arguments
        )
    }

    /// A record's name.
    #[must_use]
    pub fn new(function: Arc<FunctionKey>, arguments: String, digest: u64) -> Self {
        Self {
            function,
            arguments,
            digest,
        }
    }
}

/// What [`escape_name`] was given.
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

/// `a::b<c::D>` stays as it is; what could be read as structure is percent-encoded.
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
