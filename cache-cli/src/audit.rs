//! Entries of the audit, which instances with `Redis::audit` write.

use std::collections::HashMap;

use redis::RedisError;
use redis::aio::MultiplexedConnection;

use crate::marks;

/// An entry of the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AuditEntry {
    /// The id in the stream, which begins with the time in milliseconds of the server's clock.
    pub(crate) id: String,
    /// The instance, or the tool.
    pub(crate) who: String,
    /// The key, function or pattern that was invalidated.
    pub(crate) what: String,
}

/// An entry as the server returns it.
pub(crate) type RawEntry = (String, HashMap<String, String>);

impl AuditEntry {
    pub(crate) fn new((id, mut fields): RawEntry) -> Self {
        let mut field = |name| fields.remove(name).unwrap_or_default();
        Self {
            who: field("who"),
            what: field("what"),
            id,
        }
    }

    /// The time of the entry, in milliseconds of the server's clock.
    pub(crate) fn millis(&self) -> u64 {
        let millis = self.id.split('-').next();
        millis.and_then(|millis| millis.parse().ok()).unwrap_or(0)
    }

    /// The order of the entry among those of all shards: by its time, and by its number among those
    /// of the same millisecond.
    pub(crate) fn order(&self) -> (u64, u64) {
        let number = self.id.split('-').nth(1);
        let number = number.and_then(|number| number.parse().ok());
        (self.millis(), number.unwrap_or(0))
    }

    /// Returns `true` if the entry concerns a key: it, its function, or everything. The pattern of
    /// an invalidation of several keys is not compared.
    pub(crate) fn concerns(&self, function: &str, key: &str) -> bool {
        let what = subject(&self.what);
        let is_pattern = |rest: &str| rest.starts_with(':') && rest.contains(['*', '?', '[']);
        what == "*"
            || what == function
            || what == key
            || what.strip_prefix(function).is_some_and(is_pattern)
    }

    /// Returns `true` if the entry concerns one of these tags: the audit has their digests. Without
    /// digests, it concerns all tags.
    pub(crate) fn concerns_tags(&self, tags: &[u64]) -> bool {
        let mut words = subject(&self.what).split(' ');
        if tags.is_empty() || words.next() != Some("tags") {
            return false;
        }
        let digests: Vec<&str> = words.collect();
        let mut tags = tags.iter().map(|tag| marks::digest(*tag));
        digests.is_empty() || tags.any(|tag| digests.contains(&&*tag))
    }
}

/// Returns what an entry is of, without the word that says what was done if it was not invalidated.
pub(crate) fn subject(what: &str) -> &str {
    let words = ["expired ", "guarded "];
    let rest = words.iter().find_map(|word| what.strip_prefix(word));
    rest.unwrap_or(what)
}

/// Returns the last entries of a stream, the oldest of them first.
///
/// # Errors
/// The server does not answer, or refuses the command.
pub(crate) async fn last(
    connection: &mut MultiplexedConnection,
    stream: &str,
    number: usize,
) -> Result<Vec<AuditEntry>, RedisError> {
    if number == 0 {
        return Ok(Vec::new());
    }
    let mut read = redis::cmd("XREVRANGE");
    read.arg(stream).arg("+").arg("-").arg("COUNT").arg(number);
    let entries: Vec<RawEntry> = read.query_async(connection).await?;
    Ok(entries.into_iter().rev().map(AuditEntry::new).collect())
}

/// Returns `true` if the user may not read the audit.
pub(crate) fn is_refused(error: &RedisError) -> bool {
    error.code() == Some("NOPERM")
}

/// Returns a time of day in UTC.
pub(crate) fn time_of_day(millis: u64) -> String {
    let seconds = millis / 1_000 % 86_400;
    let (hours, minutes, seconds) = (seconds / 3_600, seconds / 60 % 60, seconds % 60);
    format!("{hours:02}:{minutes:02}:{seconds:02}.{:03}", millis % 1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: &str) -> AuditEntry {
        AuditEntry {
            id: "5-0".into(),
            who: String::new(),
            what: what.into(),
        }
    }

    #[test]
    fn entry_concerns_the_tags_whose_digests_it_has() {
        let of = |what: &str| entry(what).concerns_tags(&[1, 0xabc]);
        assert!(of("tags 0000000000000abc"));
        assert!(of("expired tags 0000000000000007 0000000000000001"));
        assert!(of("tags"), "all of them");
        for other in ["tags 0000000000000007", "tags:1:2", "expired f:1:2", "*"] {
            assert!(!of(other), "{other}");
        }
        assert!(!entry("tags").concerns_tags(&[]));
    }

    #[test]
    fn entry_concerns_the_key_its_function_a_pattern_and_everything() {
        for what in [
            "*",
            "f:1",
            "f:1:42",
            "expired f:1:42",
            "guarded f:1:42",
            "f:1:4*",
        ] {
            assert!(entry(what).concerns("f:1", "f:1:42"), "{what}");
        }
        for what in ["f:1:43", "f:12", "g:1", "f:1:", ""] {
            assert!(!entry(what).concerns("f:1", "f:1:42"), "{what}");
        }
    }

    #[test]
    fn time_of_day_is_that_of_utc() {
        assert_eq!(time_of_day(1_700_000_000_123), "22:13:20.123");
    }
}
