//! `invalidate`: invalidates a key, the keys that match, a function, or everything.

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use cache_core::inspect::Record;
use cache_core::tier::{FunctionKey, Glob, RecordKey, Target};
use cache_redis::inspect::{InspectedShard, Inspection};
use serde_json::json;

use crate::args::{self, Invalidate};
use crate::failure::Failure;
use crate::output::{Output, printable};
use crate::target::{self, Located};
use crate::verdict::Verdict;

/// Index of the last byte that is read of a record, of which the whole is needed for its checksum.
const LAST: usize = (64 << 20) - 1;

/// The target of an invalidation, and the way to it.
#[derive(Debug)]
enum Plan<'a> {
    /// The record is there: its header has the digest by which instances know the key.
    Key(&'a InspectedShard, RecordKey),
    /// The digest of the key is not known, so all instances forget the function.
    Matching(Arc<FunctionKey>, Glob),
    Function(Arc<FunctionKey>),
    All,
}

pub(crate) async fn run(
    inspection: &Inspection,
    output: &Output,
    arguments: &Invalidate,
) -> Result<Verdict, Failure> {
    let plan = plan(inspection, arguments).await?;
    let what = plan.describe(inspection);
    if arguments.dry_run {
        let document = || json!({"would_invalidate": what});
        output.either(&format!("would invalidate {what}"), document)?;
        return Ok(Verdict::Fine);
    }
    if !arguments.yes && !is_confirmed(&what)? {
        return Err(Failure::not_found(
            "not confirmed; nothing was invalidated",
            "answer `yes`, or use `--yes`",
        ));
    }
    let deleted = plan.execute(inspection).await?;
    let text = match deleted {
        Some(deleted) => format!("invalidated {what}: {deleted} records deleted"),
        None => format!("invalidated {what}"),
    };
    output.either(&text, || json!({"invalidated": what, "deleted": deleted}))?;
    Ok(Verdict::Fine)
}

async fn plan<'a>(inspection: &'a Inspection, arguments: &Invalidate) -> Result<Plan<'a>, Failure> {
    let Some(name) = &arguments.function else {
        return Ok(Plan::All);
    };
    if let Some(pattern) = &arguments.matching {
        let function = target::function(inspection, name).await?;
        return Ok(Plan::Matching(function, Glob::new(pattern)?));
    }
    let is_key = arguments.key.is_some() || name.starts_with('{');
    if !is_key {
        return Ok(Plan::Function(target::function(inspection, name).await?));
    }
    let target = args::Target {
        function: name.clone(),
        key: arguments.key.clone(),
    };
    let Located { shard, key } = target::locate(inspection, &target).await?;
    if let Some(shard) = shard {
        let stored = shard.read(&key, LAST).await?;
        if let Some(Ok(record)) = stored.record.as_deref().map(Record::read) {
            let digest = record.short_digest();
            let key = RecordKey::new(key.function, key.arguments, digest);
            return Ok(Plan::Key(shard, key));
        }
    }
    let glob = target::exactly(&key.arguments)?;
    Ok(Plan::Matching(key.function, glob))
}

impl Plan<'_> {
    fn describe(&self, inspection: &Inspection) -> String {
        match self {
            Self::Key(_, key) => format!("the key `{}`", key.name()),
            Self::Matching(function, glob) => format!(
                "the keys `{}:{glob}`; memory of the whole function is asked again",
                function.versioned()
            ),
            Self::Function(function) => format!("all keys of `{}`", function.versioned()),
            Self::All => format!("everything in the namespace `{}`", inspection.namespace()),
        }
    }

    /// Returns the number of deleted records, if it is known.
    async fn execute(&self, inspection: &Inspection) -> Result<Option<u64>, Failure> {
        let who = who();
        // In all shards, also if one of them fails.
        let in_all = async |target: Target<'_>| {
            let mut result = Ok(None);
            for shard in inspection.shards() {
                if let Err(error) = shard.invalidate(target, &who).await {
                    result = Err(error.into());
                }
            }
            result
        };
        match self {
            Self::Key(shard, key) => {
                shard.invalidate(Target::Key(key), &who).await?;
                Ok(None)
            }
            Self::Function(function) => in_all(Target::Function(function)).await,
            Self::All => in_all(Target::All).await,
            Self::Matching(function, glob) => {
                let mut result = Ok(Some(0));
                for shard in inspection.shards() {
                    result = match shard.invalidate_matching(function, glob, &who).await {
                        Ok(more) => result.map(|before| before.map(|before| before + more)),
                        Err(error) => Err(error.into()),
                    };
                }
                result
            }
        }
    }
}

/// The name in the audit.
fn who() -> String {
    let user = std::env::var("USER").unwrap_or_default();
    match user.is_empty() {
        true => "cli".to_owned(),
        false => format!("cli:{}", user.chars().take(64).collect::<String>()),
    }
}

fn is_confirmed(what: &str) -> io::Result<bool> {
    let mut error = io::stderr().lock();
    write!(error, "invalidate {}? (yes/no) ", printable(what))?;
    error.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "yes" | "y"))
}
