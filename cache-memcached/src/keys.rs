//! The names of items in the server: at most 250 bytes, without blanks.

use std::sync::Arc;

use cache_core::tier::{FunctionKey, RecordKey};
use xxhash_rust::xxh3::xxh3_128;

/// The longest name of a record that is written out; a longer one is hashed. The names of its other
/// items have a suffix.
const LONGEST: usize = 230;

/// The longest namespace.
pub(crate) const LONGEST_NAMESPACE: usize = 64;

/// Makes the names of items. Cloning is cheap.
#[derive(Clone, Debug)]
pub(crate) struct Keys {
    namespace: Arc<str>,
}

/// The names of the items that belong to one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct RecordNames {
    /// The record itself, or the lease to fill it.
    pub(crate) record: String,
    /// The epoch of its function.
    pub(crate) epoch: String,
    /// The history of the namespace.
    pub(crate) history: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            namespace: namespace.into(),
        }
    }

    /// Returns the names of the items that belong to a record.
    pub(crate) fn names(&self, key: &RecordKey) -> RecordNames {
        RecordNames {
            record: self.record(key),
            epoch: self.epoch(&key.function),
            history: self.history(),
        }
    }

    /// Returns the name of a record.
    pub(crate) fn record(&self, key: &RecordKey) -> String {
        self.name(&key.name())
    }

    /// Returns the name of the guards of the key whose record has this name.
    pub(crate) fn guards(record: &str) -> String {
        format!("{record}#g")
    }

    /// Returns the name of the lease of a refresh, beside the record with this name.
    pub(crate) fn refresh(record: &str) -> String {
        format!("{record}#r")
    }

    /// Returns the name of the epoch of a function, which all its valid records carry.
    pub(crate) fn epoch(&self, function: &FunctionKey) -> String {
        self.name(&function.versioned()) + "#e"
    }

    /// Returns the name of the history, which all valid records of the namespace carry.
    pub(crate) fn history(&self) -> String {
        format!("{}:#h", self.namespace)
    }

    /// Returns the name of the number that identifies the process of the server.
    pub(crate) fn process(&self) -> String {
        format!("{}:#p", self.namespace)
    }

    /// Returns the name of the number of invalidations in the log.
    pub(crate) fn log_count(&self) -> String {
        format!("{}:#n", self.namespace)
    }

    /// Returns the name of the message with this number in the log.
    pub(crate) fn message(&self, number: u64) -> String {
        format!("{}:#{number}", self.namespace)
    }

    fn name(&self, text: &str) -> String {
        let mut name = format!("{}:", self.namespace);
        for byte in text.bytes() {
            if byte.is_ascii_graphic() && byte != b'%' {
                name.push(char::from(byte));
            } else {
                name.push_str(&format!("%{byte:02X}"));
            }
            if name.len() > LONGEST {
                return format!("{}:#{:032x}", self.namespace, xxh3_128(text.as_bytes()));
            }
        }
        name
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

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
            for name in [Keys::guards(&name), Keys::refresh(&name)] {
                assert!(name.len() <= 250 && name.bytes().all(|byte| byte.is_ascii_graphic()));
            }
        }
    }
}
