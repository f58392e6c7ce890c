//! Names of keys in Redis.

use cache_core::tier::{FunctionKey, RecordKey};

/// Makes the names of one namespace.
///
/// The hash tag holds a bucket number: all keys of a script are in one bucket and so in one slot of a cluster.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
}

impl Keys {
    pub(crate) fn new(namespace: &str) -> Self {
        Self {
            prefix: format!("{{{namespace}:0}}:"),
        }
    }

    pub(crate) fn record(&self, key: &RecordKey) -> String {
        format!(
            "{}{}:{}:{}",
            self.prefix, key.function.name, key.function.version, key.arguments
        )
    }

    /// `#` stands in no record's name: it is escaped in arguments.
    pub(crate) fn lease(&self, key: &RecordKey) -> String {
        format!("{}#lease", self.record(key))
    }

    pub(crate) fn epoch(&self, function: &FunctionKey) -> String {
        format!(
            "{}{}:{}#epoch",
            self.prefix, function.name, function.version
        )
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn names_show_function_version_and_arguments() {
        let keys = Keys::new("shop");
        let function = Arc::new(FunctionKey::new("users::get", 3));
        let record = RecordKey::new(Arc::clone(&function), "42".into());
        assert_eq!(keys.record(&record), "{shop:0}:users::get:3:42");
        assert_eq!(keys.lease(&record), "{shop:0}:users::get:3:42#lease");
        assert_eq!(keys.epoch(&function), "{shop:0}:users::get:3#epoch");
    }

    #[test]
    fn names_of_functions_read_one_way_only() {
        let keys = Keys::new("shop");
        let one = RecordKey::new(Arc::new(FunctionKey::new("a:1", 2)), "x".into());
        let other = RecordKey::new(Arc::new(FunctionKey::new("a", 1)), "2:x".into());
        assert_ne!(keys.record(&one), keys.record(&other));
    }
}
