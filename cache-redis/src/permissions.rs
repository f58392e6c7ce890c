//! The commands that this crate sends, what each is for, and which of them the server's user may
//! not run.
//!
//! A script that is refused a command fails halfway, or takes the refusal for a foreign value and
//! repairs what was not broken. So the permissions are asked for when a link is made, before
//! anything relies on them, and again after the server refused an operation.

pub(crate) mod check;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::tier::{FunctionKey, RecordKey};

use crate::keys::Keys;

/// A feature that needs commands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Everything: without them no link is made.
    Caching,
    /// A database other than 0: a connection selects it as it is made.
    Database,
    /// The addresses of a cluster's nodes. Without them the seeds alone are known.
    Nodes,
    /// A look for another number of shards. A user that has the keys of one shard only
    /// cannot see it, and is not warned, because its namespace commonly has one.
    OtherLayouts,
    /// Without them a ring of loads that wait for each other ends after two seconds.
    NestedLoads,
    /// Without them no tagged value is stored, invalidations of tags stay queued, and an expiry
    /// invalidates.
    Tags,
    /// Without them the records of several keys are read by one command for each, in one round
    /// trip.
    ManyKeys,
    WriteGuards,
    InvalidateMatching,
    Replicated,
    Audit,
    /// The state that tools show. Without them it is not published.
    Observe,
    /// Without it an explanation of a key does not tell of its guards.
    Explain,
    /// Streams have connections of their own, on which the server's refusal names the command.
    Streams,
}

impl Purpose {
    pub(crate) fn is_checked(self) -> bool {
        !matches!(self, Self::Database | Self::Explain | Self::Streams)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Caching => "caching",
            Self::Database => "a database other than 0",
            Self::Nodes => "the nodes of a cluster besides the seeds",
            Self::OtherLayouts => "a look for another number of shards",
            Self::NestedLoads => "bodies that call cached functions",
            Self::Tags => "tags and `expire`",
            Self::ManyKeys => "several records in one command",
            Self::WriteGuards => "write guards",
            Self::InvalidateMatching => "`invalidate_matching`",
            Self::Replicated => "`replicated`",
            Self::Audit => "the audit",
            Self::Observe => "`observe`",
            Self::Explain => "`explain`",
            Self::Streams => "streams",
        })
    }
}

/// Every command: what it is for, its name in an ACL, and a call that stands for all its uses.
/// The docs of [`Redis`](crate::Redis) list the same, which a test checks.
#[rustfmt::skip]
pub(crate) const COMMANDS: &[(Purpose, &str, &str)] = &[
    (Purpose::Caching, "ping", "ping"),
    (Purpose::Caching, "info", "info server"),
    (Purpose::Caching, "time", "time"),
    (Purpose::Caching, "getrange", "getrange {record} 0 0"),
    (Purpose::Caching, "set", "set {record} 0"),
    (Purpose::Caching, "del", "del {record}"),
    (Purpose::Caching, "exists", "exists {heartbeat}"),
    (Purpose::Caching, "incr", "incr {sequence}"),
    (Purpose::Caching, "append", "append {lease} w"),
    (Purpose::Caching, "pexpire", "pexpire {lease} 1"),
    (Purpose::Caching, "pttl", "pttl {lease}"),
    (Purpose::Caching, "evalsha", "evalsha 0 1 {record}"),
    (Purpose::Caching, "script|load", "script load 0"),
    (Purpose::Caching, "spublish", "spublish {channel} 0"),
    (Purpose::Caching, "ssubscribe", "ssubscribe {channel}"),
    (Purpose::Database, "select", "select 1"),
    (Purpose::Nodes, "cluster|slots", "cluster slots"),
    (Purpose::OtherLayouts, "getrange", "getrange {other_history} 0 0"),
    (Purpose::NestedLoads, "hset", "hset {waits} 0 0"),
    (Purpose::NestedLoads, "hgetall", "hgetall {waits}"),
    (Purpose::NestedLoads, "hdel", "hdel {waits} 0"),
    (Purpose::Tags, "hmget", "hmget {ledger} b n"),
    (Purpose::Tags, "hset", "hset {ledger} b 0"),
    (Purpose::Tags, "hincrby", "hincrby {ledger} n 1"),
    (Purpose::Tags, "hlen", "hlen {ledger}"),
    (Purpose::Tags, "hscan", "hscan {ledger} 0"),
    (Purpose::Tags, "rename", "rename {ledger} {old_ledger}"),
    (Purpose::Tags, "unlink", "unlink {old_ledger}"),
    (Purpose::ManyKeys, "mget", "mget {record} {record}"),
    (Purpose::WriteGuards, "zadd", "zadd {guards} 0 0"),
    (Purpose::WriteGuards, "zrem", "zrem {guards} 0"),
    (Purpose::WriteGuards, "zscore", "zscore {guards} 0"),
    (Purpose::WriteGuards, "zremrangebyscore", "zremrangebyscore {guards} 0 0"),
    (Purpose::InvalidateMatching, "scan", "scan 0"),
    (Purpose::InvalidateMatching, "unlink", "unlink {record}"),
    (Purpose::Replicated, "wait", "wait 1 1"),
    (Purpose::Audit, "xadd", "xadd {audit} * who 0"),
    (Purpose::Observe, "hset", "hset {functions} 0 0"),
    (Purpose::Observe, "hdel", "hdel {functions} 0"),
    (Purpose::Observe, "hmget", "hmget {functions} 0"),
    (Purpose::Observe, "zadd", "zadd {instances} 0 0"),
    (Purpose::Observe, "zremrangebyscore", "zremrangebyscore {instances} 0 0"),
    (Purpose::Explain, "zcount", "zcount {guards} 0 0"),
    (Purpose::Streams, "xadd", ""),
    (Purpose::Streams, "xread", ""),
    (Purpose::Streams, "xrevrange", ""),
    (Purpose::Streams, "xgroup|create", ""),
    (Purpose::Streams, "xreadgroup", ""),
    (Purpose::Streams, "xack", ""),
    (Purpose::Streams, "xautoclaim", ""),
];

/// The permissions of the server's user, as of the last check.
#[derive(Debug, Default)]
pub(crate) struct Permissions {
    /// Commands that the user may not run, as of the last check.
    lacking: Mutex<Vec<(Purpose, &'static str)>>,
    /// The server refused something since the last check.
    is_doubtful: AtomicBool,
}

impl Permissions {
    /// Lets the next heartbeat check again: an ACL can change while a link lives.
    ///
    /// Relaxed: the flag guards no data, and a check that comes a heartbeat later does no harm.
    pub(crate) fn doubt(&self) {
        self.is_doubtful.store(true, Ordering::Relaxed);
    }

    pub(crate) fn lacks(&self, purpose: Purpose) -> bool {
        self.lock().iter().any(|(lacking, _)| *lacking == purpose)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(Purpose, &'static str)>> {
        self.lacking.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A word of a call, with a name of this namespace in place of a placeholder.
fn named(keys: &Keys, word: &str) -> String {
    let record = || RecordKey::new(Arc::new(FunctionKey::new("f", 1)), "0".into(), 0);
    match word {
        "{record}" => keys.record(&record()),
        "{lease}" => keys.lease(&record()),
        "{waits}" => keys.waits(&record()),
        "{guards}" => keys.guards(&record()),
        "{sequence}" => keys.sequence(),
        "{ledger}" => keys.ledger(),
        "{old_ledger}" => keys.old_ledger(),
        "{other_history}" => keys.history_of(1),
        "{heartbeat}" => keys.heartbeat(),
        "{audit}" => keys.audit(),
        "{functions}" => keys.functions(),
        "{instances}" => keys.instances(),
        "{channel}" => keys.channel(),
        word => word.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The commands in the rows of a table in `docs` that list commands for `purpose`. A row may
    /// say after a colon which commands of the purpose it lists.
    fn documented(docs: &str, purpose: &str) -> Vec<String> {
        let lists = docs
            .lines()
            .map(|line| line.trim_start_matches(['/', '!', ' ']))
            .filter_map(|line| line.strip_prefix("| ")?.strip_prefix(purpose))
            .filter(|rest| rest.starts_with([' ', ':']))
            .filter_map(|rest| rest.split_once(" | `")?.1.split('`').next());
        let names = lists.flat_map(|list| list.split(' '));
        // A bar in a table is escaped.
        names.map(|name| name.replace("\\|", "|")).collect()
    }

    #[test]
    fn documented_commands_are_those_that_are_sent() {
        for (purpose, text) in [
            (Purpose::Caching, "caching"),
            (Purpose::Database, "a database other than 0"),
            (Purpose::Nodes, "the nodes of a cluster besides the seeds"),
            (Purpose::OtherLayouts, "the keys `{namespace:*}:#history`"),
            (Purpose::NestedLoads, "bodies that call cached functions"),
            (Purpose::Tags, "tags and `expire`"),
            (Purpose::ManyKeys, "several records in one command"),
            (Purpose::WriteGuards, "write guards"),
            (Purpose::InvalidateMatching, "`invalidate_matching`"),
            (Purpose::Replicated, "`replicated`"),
            (Purpose::Audit, "[audit](Self::audit)"),
            (Purpose::Observe, "`observe`"),
            (Purpose::Explain, "`explain`"),
            (Purpose::Streams, "[streams](Self::streams)"),
        ] {
            let sent: Vec<&str> = COMMANDS
                .iter()
                .filter(|(of, ..)| *of == purpose)
                .map(|(_, command, _)| *command)
                .collect();
            assert_eq!(documented(include_str!("config.rs"), text), sent, "{text}");
        }
    }

    /// The code and the scripts below a directory, without tests and without the list itself.
    fn sources(directory: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            // A tool for operators may need other permissions, which are not those of the tier.
            if path.ends_with("src/inspect") || path.ends_with("src/inspect.rs") {
                continue;
            }
            let is_code = !["permissions.rs", "tests.rs", "testing.rs"]
                .iter()
                .any(|name| path.ends_with(name));
            if path.is_dir() {
                sources(&path, found);
            } else if is_code {
                let text = fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod tests {").next();
                found.extend(code.map(str::to_owned));
            }
        }
    }

    #[test]
    fn sent_commands_are_listed() {
        let mut texts = Vec::new();
        sources(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut texts,
        );
        let mut sent = BTreeSet::new();
        for text in texts {
            for start in [
                "redis.call('",
                "redis.pcall('",
                "redis::cmd(\"",
                ".cmd(\"",
                "sized_cmd(\"",
            ] {
                for (at, _) in text.match_indices(start) {
                    let rest = &text[at + start.len()..];
                    let name: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
                    sent.insert(name.to_lowercase());
                }
            }
        }
        // The client writes these.
        sent.extend(["evalsha", "script", "select"].map(str::to_owned));
        // Every user may run `auth`, and `sentinel` is sent to sentinels only.
        for other in ["auth", "sentinel"] {
            assert!(sent.remove(other), "{other}");
        }
        let listed: BTreeSet<String> = COMMANDS
            .iter()
            .filter_map(|(_, command, _)| command.split('|').next())
            .map(str::to_owned)
            .collect();
        assert_eq!(sent, listed);
    }
}
