//! Names of keys in Redis.

use std::fmt::{self, Write};

use cache_core::tier::{FunctionKey, RecordKey, Shard};

/// Appended to the name of a record: its lease.
pub(crate) const LEASE: &str = "#lease";

/// Appended to the name of a record: its guards.
pub(crate) const GUARDS: &str = "#guards";

/// Appended to the name of a record: the leases that the holder of its lease waits for.
pub(crate) const WAITS: &str = "#waits";

/// The number of bytes of the longest version, with the colons around it.
const LONGEST_VERSION: usize = 12;

/// The name of the history, after the prefix.
const HISTORY: &str = "#history";

/// The name of the stream that the audit writes.
pub(crate) const INVALIDATIONS: &str = "#invalidations";

/// The names of what is published for tools, as `cache_core::inspect::keys` has them.
const FUNCTIONS: &str = "#functions";
#[cfg(feature = "inspect")]
const SHAPES: &str = "#shapes";
const INSTANCES: &str = "#instances";
#[cfg(feature = "inspect")]
const INSTANCE: &str = "#instance:";

/// Makes the names of one shard of a namespace.
///
/// The hash tag contains the index of the shard: all keys of a script are of one shard, and so in
/// one slot of a cluster.
#[derive(Debug)]
pub(crate) struct Keys {
    prefix: String,
    /// A pattern of the keys of all shards, for an ACL.
    pattern: String,
    namespace: String,
    database: i64,
}

impl Keys {
    pub(crate) fn new(namespace: &str, shard: Shard, database: i64) -> Self {
        let prefix = |index: &dyn fmt::Display| format!("{{{namespace}:{index}}}:");
        let pattern = match shard.is_only() {
            true => prefix(&0),
            false => prefix(&"*"),
        };
        Self {
            prefix: prefix(&shard.index()),
            pattern: pattern + "*",
            namespace: namespace.to_owned(),
            database,
        }
    }

    /// A pattern of all keys and channels of the namespace, for an ACL.
    pub(crate) fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The beginning of the names of all keys of the shard.
    #[cfg(feature = "inspect")]
    pub(crate) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The history of the shard with this index, which may be another one.
    pub(crate) fn history_of(&self, shard: u8) -> String {
        history_of(&self.namespace, shard)
    }

    /// A pattern of the histories of all shards that there can be, for an ACL.
    #[cfg(feature = "inspect")]
    pub(crate) fn histories(&self) -> String {
        format!("{{{}:*}}:{HISTORY}", self.namespace)
    }

    pub(crate) fn record(&self, key: &RecordKey) -> String {
        self.beside(key, "")
    }

    /// The lease on a record. No record's name contains `#`, which is escaped in arguments and
    /// refused in key templates.
    pub(crate) fn lease(&self, key: &RecordKey) -> String {
        self.beside(key, LEASE)
    }

    /// The leases that the holder of the record's lease waits for.
    pub(crate) fn waits(&self, key: &RecordKey) -> String {
        self.beside(key, WAITS)
    }

    /// The lease on the record with this [name](RecordKey::name).
    pub(crate) fn lease_named(&self, name: &str) -> String {
        format!("{}{name}{LEASE}", self.prefix)
    }

    /// The waits beside [`lease_named`](Self::lease_named).
    pub(crate) fn waits_named(&self, name: &str) -> String {
        format!("{}{name}{WAITS}", self.prefix)
    }

    /// The name of the record that a lease of this shard is on.
    pub(crate) fn name_of_lease<'a>(&self, lease: &'a str) -> Option<&'a str> {
        lease.strip_prefix(&self.prefix)?.strip_suffix(LEASE)
    }

    /// The guards of a record, which keep every instance from storing it.
    pub(crate) fn guards(&self, key: &RecordKey) -> String {
        self.beside(key, GUARDS)
    }

    /// Appends the name of a record to a text.
    pub(crate) fn write_record(&self, key: &RecordKey, out: &mut String) {
        self.write_function(&key.function, out);
        out.push_str(&key.arguments);
    }

    /// Appends the beginning of the names of a function's records, up to the arguments.
    pub(crate) fn write_function(&self, function: &FunctionKey, out: &mut String) {
        out.push_str(&self.prefix);
        out.push_str(&function.name);
        // Writing to memory does not fail.
        let _ = write!(out, ":{}:", function.version);
    }

    /// The name of a record with a suffix, in one allocation: calls make many of them.
    fn beside(&self, key: &RecordKey, suffix: &str) -> String {
        let texts = [&self.prefix, &key.function.name, &key.arguments, suffix];
        let length: usize = texts.iter().map(|text| text.len()).sum();
        let mut name = String::with_capacity(length + LONGEST_VERSION);
        self.write_record(key, &mut name);
        name.push_str(suffix);
        name
    }

    pub(crate) fn epoch(&self, function: &FunctionKey) -> String {
        format!(
            "{}{}:{}#epoch",
            self.prefix, function.name, function.version
        )
    }

    /// The prefix of the names of a function's records.
    pub(crate) fn prefix_of(&self, function: &FunctionKey) -> String {
        format!("{}{}:{}:", self.prefix, function.name, function.version)
    }

    /// The prefix of the names of the records of all instances of a generic function.
    pub(crate) fn instances_of(&self, function: &FunctionKey) -> String {
        format!("{}{}<", self.prefix, function.name)
    }

    /// The name of the function in the name of a record or lease, if that has this version.
    pub(crate) fn function_of(&self, key: &str, version: u32) -> Option<String> {
        let (name, of, rest) = self.split(key)?;
        let is_meant = of == version && rest.starts_with(':');
        is_meant.then(|| name.to_owned())
    }

    /// Splits the name of a key that belongs to a function: the function's name, which is
    /// everything up to the first single colon, its version, and the rest after that. No function's
    /// name contains a single colon.
    pub(crate) fn split<'a>(&self, key: &'a str) -> Option<(&'a str, u32, &'a str)> {
        let rest = key.strip_prefix(&self.prefix)?;
        let mut end = 0;
        loop {
            end += rest[end..].find(':')?;
            match rest[end..].strip_prefix("::") {
                Some(_) => end += 2,
                None => break,
            }
        }
        let (name, rest) = rest.split_at(end);
        let rest = rest.strip_prefix(':')?;
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        let (version, rest) = rest.split_at(digits);
        // Another way to write the number would be another key.
        let is_canonical = digits == 1 || !version.starts_with('0');
        let version = version.parse().ok().filter(|_| is_canonical)?;
        Some((name, version, rest))
    }

    /// A stream that users write.
    pub(crate) fn stream(&self, name: &str) -> String {
        format!("{}#stream:{name}", self.prefix)
    }

    /// The stream that the audit writes.
    pub(crate) fn audit(&self) -> String {
        self.stream(INVALIDATIONS)
    }

    /// The functions of the instances that publish what tools show.
    pub(crate) fn functions(&self) -> String {
        format!("{}{FUNCTIONS}", self.prefix)
    }

    /// The layouts of their value types.
    #[cfg(feature = "inspect")]
    pub(crate) fn shapes(&self) -> String {
        format!("{}{SHAPES}", self.prefix)
    }

    /// The ids of these instances, by the time at which each last published.
    pub(crate) fn instances(&self) -> String {
        format!("{}{INSTANCES}", self.prefix)
    }

    /// The state of one of them.
    #[cfg(feature = "inspect")]
    pub(crate) fn instance(&self, id: &str) -> String {
        format!("{}{INSTANCE}{id}", self.prefix)
    }

    /// The history of the data set, with the identity of the server that it was begun on.
    pub(crate) fn history(&self) -> String {
        format!("{}{HISTORY}", self.prefix)
    }

    /// The number of the last message of the channel.
    pub(crate) fn sequence(&self) -> String {
        format!("{}#sequence", self.prefix)
    }

    /// The ledger of tags and expiries.
    pub(crate) fn ledger(&self) -> String {
        format!("{}#ledger", self.prefix)
    }

    /// The generation of the ledger before the current one.
    pub(crate) fn old_ledger(&self) -> String {
        format!("{}#ledger:old", self.prefix)
    }

    /// The key that is written each second to prove that the server takes writes.
    pub(crate) fn heartbeat(&self) -> String {
        format!("{}#heartbeat", self.prefix)
    }

    /// The channel of invalidations. Channels do not belong to a database, so their names contain
    /// its number.
    pub(crate) fn channel(&self) -> String {
        format!("{}#channel:{}", self.prefix, self.database)
    }
}

/// The history of a shard of a namespace.
pub(crate) fn history_of(namespace: &str, shard: u8) -> String {
    format!("{{{namespace}:{shard}}}:{HISTORY}")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn names_show_function_version_and_arguments() {
        let keys = Keys::new("shop", Shard::ONLY, 3);
        let function = Arc::new(FunctionKey::new("users::get", 3));
        let record = RecordKey::new(Arc::clone(&function), "42".into(), 0);
        assert_eq!(keys.record(&record), "{shop:0}:users::get:3:42");
        assert_eq!(keys.lease(&record), "{shop:0}:users::get:3:42#lease");
        let name = record.name();
        assert_eq!(keys.lease_named(&name), keys.lease(&record));
        assert_eq!(keys.waits_named(&name), keys.waits(&record));
        assert_eq!(keys.name_of_lease(&keys.lease(&record)), Some(&*name));
        assert_eq!(keys.epoch(&function), "{shop:0}:users::get:3#epoch");
        assert_eq!(keys.channel(), "{shop:0}:#channel:3");
    }

    #[cfg(feature = "inspect")]
    #[test]
    fn names_of_what_is_published_are_those_that_tools_know() {
        use cache_core::inspect::keys;
        assert_eq!(FUNCTIONS, keys::FUNCTIONS);
        assert_eq!(SHAPES, keys::SHAPES);
        assert_eq!(INSTANCES, keys::INSTANCES);
        assert_eq!(INSTANCE, keys::INSTANCE);
        let shop = Keys::new("shop", Shard::ONLY, 3);
        assert_eq!(shop.instance("a-1"), "{shop:0}:#instance:a-1");
    }

    #[test]
    fn names_of_functions_read_one_way_only() {
        let keys = Keys::new("shop", Shard::ONLY, 3);
        let one = RecordKey::new(Arc::new(FunctionKey::new("a:1", 2)), "x".into(), 0);
        let other = RecordKey::new(Arc::new(FunctionKey::new("a", 1)), "2:x".into(), 0);
        assert_ne!(keys.record(&one), keys.record(&other));
    }

    #[test]
    fn each_shard_has_a_hash_tag_and_the_first_is_that_of_one_shard() {
        let one = Keys::new("shop", Shard::ONLY, 0);
        assert_eq!(one.pattern(), "{shop:0}:*");
        let shards = Shard::all(8).unwrap();
        for (index, shard) in shards.into_iter().enumerate() {
            let keys = Keys::new("shop", shard, 0);
            assert_eq!(keys.history(), format!("{{shop:{index}}}:#history"));
            assert_eq!(keys.channel(), format!("{{shop:{index}}}:#channel:0"));
            assert_eq!(keys.pattern(), "{shop:*}:*");
            assert_eq!(keys.history(), keys.history_of(index as u8));
            assert_eq!(keys.history() == one.history(), index == 0);
        }
    }
}
