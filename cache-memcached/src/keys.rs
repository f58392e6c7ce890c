//! Names in the server: at most 250 bytes, without blanks.

use cache_core::tier::{FunctionKey, RecordKey};
use xxhash_rust::xxh3::xxh3_128;

/// Longest name that is written out; what belongs to it is written behind it.
const LONGEST: usize = 230;

/// Longest namespace.
pub(crate) const LONGEST_NAMESPACE: usize = 64;

#[derive(Clone, Debug)]
pub(crate) struct Keys {
    namespace: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.to_owned(),
        }
    }

    pub(crate) fn record(&self, key: &RecordKey) -> String {
        self.name(&key.name())
    }

    /// The guards of a key.
    pub(crate) fn guards(record: &str) -> String {
        format!("{record}#g")
    }

    /// What records of a function carry.
    pub(crate) fn epoch(&self, function: &FunctionKey) -> String {
        self.name(&function.versioned()) + "#e"
    }

    /// What all records carry.
    pub(crate) fn history(&self) -> String {
        format!("{}:#h", self.namespace)
    }

    /// Which process of the server has it.
    pub(crate) fn process(&self) -> String {
        format!("{}:#p", self.namespace)
    }

    /// How many invalidations there were.
    pub(crate) fn count(&self) -> String {
        format!("{}:#n", self.namespace)
    }

    /// The invalidation with that number.
    pub(crate) fn message(&self, number: u64) -> String {
        format!("{}:#{number}", self.namespace)
    }

    fn name(&self, what: &str) -> String {
        let mut name = format!("{}:", self.namespace);
        for byte in what.bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02X}"));
            }
            if name.len() > LONGEST {
                return format!("{}:#{:032x}", self.namespace, xxh3_128(what.as_bytes()));
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;

    #[test]
    fn names_are_short_graphic_and_different() {
        let keys = Keys::new("shop");
        let function = Arc::new(FunctionKey::new("a::f", 2));
        let named = |arguments: &str| {
            keys.record(&RecordKey::new(
                Arc::clone(&function),
                arguments.to_owned(),
                1,
            ))
        };
        assert_eq!(named("1,x"), "shop:a::f:2:1,x");
        assert_eq!(named("a b"), "shop:a::f:2:a%20b");
        let long = "x".repeat(400);
        let names: HashSet<_> = [
            "a b",
            "a%20b",
            "ä",
            "\r\n",
            "",
            &long[..300],
            &long,
            "#e",
            "#1",
        ]
        .map(named)
        .into();
        assert_eq!(names.len(), 9, "{names:?}");
        for name in names {
            let guards = Keys::guards(&name);
            assert!(guards.len() <= 250 && guards.bytes().all(|byte| byte.is_ascii_graphic()));
        }
    }
}
