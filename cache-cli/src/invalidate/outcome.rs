//! Results of an invalidation in the shards.

use cache_core::{Error, ErrorKind};
use cache_redis::inspect::{InspectedShard, Invalidated};
use serde_json::{Value, json};

use crate::failure::{self, Failure};

/// Results of an invalidation in the shards.
#[derive(Debug, Default)]
pub(super) struct Outcome {
    done: Vec<(u8, Invalidated)>,
    failed: Vec<(u8, Error)>,
}

impl Outcome {
    pub(super) fn add(&mut self, shard: &InspectedShard, result: Result<Invalidated, Error>) {
        match result {
            Ok(invalidated) => self.done.push((shard.index(), invalidated)),
            Err(error) => self.failed.push((shard.index(), error)),
        }
    }

    /// The number of deleted records; `None` if it was not counted.
    fn deleted(&self) -> Option<u64> {
        self.done
            .iter()
            .filter_map(|(_, done)| done.deleted)
            .reduce(|one, other| one + other)
    }

    /// Instances subscribe to the channels of all shards. Those of one shard are counted.
    fn listeners(&self) -> u64 {
        self.done
            .iter()
            .map(|(_, done)| done.listeners)
            .max()
            .unwrap_or(0)
    }

    /// The shards whose audit refused the entry, each with the code of the error.
    fn unrecorded(&self) -> impl Iterator<Item = (u8, &str)> {
        let done = self.done.iter();
        done.filter_map(|(shard, done)| Some((*shard, done.audit_refusal.as_deref()?)))
    }

    /// Returns what was done, for people.
    pub(super) fn text(&self, what: &str) -> String {
        let mut text = format!("invalidated {what}");
        if !self.failed.is_empty() {
            text += &format!(", in {}", shards(self.done.iter().map(|(shard, _)| *shard)));
        }
        match self.deleted() {
            Some(0) => text += ": no record had such a key",
            Some(deleted) => text += &format!(": {deleted} records deleted"),
            None => {}
        }
        if self.listeners() == 0 {
            text += "; no instance listens";
        }
        text
    }

    pub(super) fn document(&self, what: &str) -> Value {
        let failed = self.failed.iter();
        let failed =
            failed.map(|(shard, error)| (shard.to_string(), json!(failure::in_full(error))));
        json!({
            "invalidated": what,
            "shards": self.done.iter().map(|(shard, _)| shard).collect::<Vec<_>>(),
            "failed": failed.collect::<serde_json::Map<_, _>>(),
            "deleted": self.deleted(),
            "listeners": self.listeners(),
            "not_in_audit": self.unrecorded().map(|(shard, _)| shard).collect::<Vec<_>>(),
        })
    }

    pub(super) fn is_done_somewhere(&self) -> bool {
        !self.done.is_empty()
    }

    /// Returns what the user should know of the audit.
    pub(super) fn warning(&self) -> Option<(String, Option<&'static str>)> {
        let (_, code) = self.unrecorded().next()?;
        let text = format!(
            "the audit of {} refuses the entry: {code}",
            shards(self.unrecorded().map(|(shard, _)| shard))
        );
        let help = match code {
            "NOPERM" => Some("ACL SETUSER <user> +xadd"),
            "OOM" => Some("the server is full; raise `maxmemory`"),
            _ => None,
        };
        Some((text, help))
    }

    /// Returns the failure if some shard has failed. It names all of them, so that the shards that
    /// are done do not pass for all.
    pub(super) fn into_failure(self, what: &str) -> Option<Failure> {
        let number = self.done.len() + self.failed.len();
        if number == 1 {
            return self
                .failed
                .into_iter()
                .next()
                .map(|(_, error)| error.into());
        }
        let mut reasons: Vec<(String, Vec<u8>)> = Vec::new();
        for (shard, error) in &self.failed {
            let reason = failure::in_full(error);
            match reasons.iter_mut().find(|(other, _)| *other == reason) {
                Some((_, of)) => of.push(*shard),
                None => reasons.push((reason, vec![*shard])),
            }
        }
        let reasons: Vec<String> = reasons
            .into_iter()
            .map(|(reason, of)| format!("{} ({reason})", shards(of.into_iter())))
            .collect();
        let mut kinds = self.failed.iter().map(|(_, error)| error.kind());
        let is_transient =
            kinds.all(|kind| matches!(kind, ErrorKind::Unavailable | ErrorKind::TimedOut));
        let exit_code = self
            .failed
            .into_iter()
            .map(|(_, error)| Failure::from(error).exit_code);
        let exit_code = exit_code.max()?;
        let problem = format!("{what}: not invalidated in {}", reasons.join(", "));
        let help = match is_transient {
            true => "run it again",
            false => "correct what the errors name, then run it again",
        };
        Some(Failure::partial(exit_code, problem, help))
    }
}

/// The names of some shards.
fn shards(all: impl Iterator<Item = u8>) -> String {
    let all: Vec<String> = all.map(|shard| shard.to_string()).collect();
    match &all[..] {
        [] => "no shard".to_owned(),
        [one] => format!("shard {one}"),
        all => format!("the shards {}", all.join(", ")),
    }
}
