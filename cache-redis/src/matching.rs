//! Looks through the keys of a function: to delete those that match a pattern, and to find the
//! instances of a generic function.

use std::collections::BTreeSet;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{FunctionKey, Glob};
use redis::RedisError;
use redis::aio::MultiplexedConnection;
use tokio::time::timeout;

use crate::commands::forget::Forget;
use crate::commands::invalidate::Announced;
use crate::commands::note::Note;
use crate::commands::{self, PORTION};
use crate::config::Audit;
use crate::errors;
use crate::keys::{GUARDS, Keys, LEASE, WAITS};
use crate::permissions::Purpose;
use crate::session::{Link, RedisSession};

/// A sweep over the keys of a shard, which deletes those of a function that match a pattern.
#[derive(Debug)]
pub(crate) struct Sweep<'a> {
    pub(crate) keys: &'a Keys,
    pub(crate) audit: Option<&'a Audit>,
    /// The time limit of each step.
    pub(crate) step: Duration,
}

/// Result of a sweep.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Swept {
    /// The number of deleted records.
    pub(crate) deleted: u64,
    /// How the instances were notified.
    pub(crate) announced: Announced,
}

/// Escapes a text for use in a pattern of the server.
pub(crate) fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if "*?[]\\^-".contains(c) {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

impl RedisSession {
    /// Deletes the records and leases of a function that match, and returns the number of records.
    ///
    /// # Errors
    /// The server was not reached, refused a command, or does not permit it.
    pub(crate) async fn invalidate_matching(
        &self,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<u64, Error> {
        if let Some(missing) = self.missing(Purpose::InvalidateMatching) {
            return Err(missing);
        }
        let link = self.require_link()?;
        let sweep = Sweep {
            keys: &self.keys,
            audit: self.settings.audit.as_ref(),
            step: self.silence(),
        };
        let swept = sweep.run(&mut link.data.clone(), function, glob).await;
        swept.map(|swept| swept.deleted).map_err(|error| {
            self.permissions.doubt();
            errors::failed("invalidate the keys that match", error)
        })
    }

    /// Lists the functions with this version whose records are in the server, and whose names are
    /// `name` followed by types.
    ///
    /// # Errors
    /// The server was not reached, or refused a command.
    pub(crate) async fn instances(
        &self,
        name: &str,
        version: u32,
    ) -> Result<Vec<FunctionKey>, Error> {
        let link = self.require_link()?;
        let found = self.scan_instances(&link, name, version).await;
        found.map_err(|error| errors::failed("list the instances of a function", error))
    }

    async fn scan_instances(
        &self,
        link: &Link,
        name: &str,
        version: u32,
    ) -> Result<Vec<FunctionKey>, RedisError> {
        let begins = self.keys.instances_of(&FunctionKey::new(name, version));
        let mut data = link.data.clone();
        let mut found = BTreeSet::new();
        let mut cursor: u64 = 0;
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor)
                .arg("MATCH")
                .arg(format!("{}*:{version}:*", escaped(&begins)))
                .arg("COUNT")
                .arg(PORTION * 2);
            let step = timeout(self.silence(), scan.query_async(&mut data)).await;
            let (next, names): (u64, Vec<String>) =
                step.unwrap_or_else(|_| Err(errors::no_reply()))?;
            found.extend(
                names
                    .iter()
                    .filter_map(|name| self.keys.function_of(name, version)),
            );
            cursor = next;
            if cursor == 0 {
                break;
            }
        }
        let found = found.into_iter();
        Ok(found
            .map(|name| FunctionKey::found(name, version))
            .collect())
    }
}

impl Sweep<'_> {
    /// Deletes the records and leases of a function that match, and has every instance forget what
    /// its memory has of the function. The audit's entry is written
    /// before the first deletion, so that a sweep that fails halfway is recorded too.
    ///
    /// All keys are scanned twice. A load that began before the sweep has a lease until its record
    /// is stored. If the first scan misses both, because the record took the place of the lease
    /// during the scan, the second finds the record. A load whose lease was deleted stores nothing.
    ///
    /// # Errors
    /// The server did not reply to a step in time, or refused one.
    pub(crate) async fn run(
        &self,
        data: &mut MultiplexedConnection,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<Swept, RedisError> {
        let prefix = self.keys.prefix_of(function);
        let mut refusal = None;
        if let Some(audit) = self.audit {
            let what = format!("{}:{glob}", function.versioned());
            let note = commands::send(data, self.keys, Note { audit, what });
            let step = timeout(self.step, note).await;
            refusal = step.unwrap_or_else(|_| Err(errors::no_reply()))?;
        }
        let mut deleted = 0;
        for _ in 0..2 {
            let mut cursor: u64 = 0;
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor)
                    .arg("MATCH")
                    .arg(escaped(&prefix) + "*")
                    .arg("COUNT")
                    .arg(PORTION * 2);
                let step = timeout(self.step, scan.query_async(data)).await;
                let (next, names): (u64, Vec<String>) =
                    step.unwrap_or_else(|_| Err(errors::no_reply()))?;
                let is_meant = |name: &&String| {
                    let rest = name.strip_prefix(&prefix);
                    rest.filter(|rest| !rest.ends_with(GUARDS) && !rest.ends_with(WAITS))
                        .is_some_and(|rest| glob.matches(rest.strip_suffix(LEASE).unwrap_or(rest)))
                };
                let meant = names.iter().filter(is_meant);
                let (leases, records): (Vec<&String>, Vec<&String>) =
                    meant.partition(|name| name.ends_with(LEASE));
                // Leases first: a record that is not stored any more need not be found again.
                self.unlink(data, &leases).await?;
                deleted += self.unlink(data, &records).await?;
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        let forget = commands::send(data, self.keys, Forget { function });
        let step = timeout(self.step, forget).await;
        let listeners = step.unwrap_or_else(|_| Err(errors::no_reply()))?;
        Ok(Swept {
            deleted,
            announced: Announced { listeners, refusal },
        })
    }

    /// Deletes keys, and lets the server free their memory in the background. Returns their number.
    async fn unlink(
        &self,
        data: &mut MultiplexedConnection,
        names: &[&String],
    ) -> Result<u64, RedisError> {
        if names.is_empty() {
            return Ok(0);
        }
        let mut unlink = redis::cmd("UNLINK");
        unlink.arg(names);
        let step = timeout(self.step, unlink.query_async(data)).await;
        step.unwrap_or_else(|_| Err(errors::no_reply()))
    }
}
