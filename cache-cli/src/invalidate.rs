//! `invalidate`: invalidates a key, the keys that match, a function, or everything.

mod outcome;

use std::io::{self, BufRead, Write};
use std::sync::Arc;

use cache_core::inspect::Record;
use cache_core::tier::{FunctionKey, Glob, RecordKey, Target};
use cache_redis::inspect::{InspectedShard, Inspection};
use serde_json::json;

use self::outcome::Outcome;
use crate::args::{self, Invalidate};
use crate::failure::Failure;
use crate::output::{Output, printable};
use crate::record::LONGEST;
use crate::search;
use crate::target::{self, Located};
use crate::verdict::Verdict;

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
    if inspection.layout()?.is_none() {
        // Also if instances are about to start: they begin the first history.
        return Err(Failure::not_found(
            format!(
                "the namespace `{}` has no history: nothing in it is valid",
                inspection.namespace()
            ),
            "check `--namespace` and the address",
        ));
    }
    let plan = plan(inspection, arguments).await?;
    let what = plan.describe(inspection);
    if arguments.dry_run {
        let document = || json!({"would_invalidate": what});
        output.entry(&format!("would invalidate {what}"), document)?;
        return Ok(Verdict::Fine);
    }
    let asked = |error| {
        Failure::not_found(
            format!("the question cannot be asked: {error}; nothing was invalidated"),
            "use `--yes`",
        )
    };
    if !arguments.yes && !is_confirmed(output, &what).map_err(asked)? {
        return Err(Failure::not_found(
            "not confirmed; nothing was invalidated",
            "answer `yes`, or use `--yes`",
        ));
    }
    let outcome = plan.execute(inspection).await;
    let printed = match outcome.is_done_somewhere() {
        true => output.entry(&outcome.text(&what), || outcome.document(&what)),
        false => Ok(()),
    };
    if let Some((warning, help)) = outcome.warning() {
        output.note(&warning, help);
    }
    // Also if the output could not be written.
    if let Some(failure) = outcome.into_failure(&what) {
        return Err(failure);
    }
    printed?;
    Ok(Verdict::Fine)
}

async fn plan<'a>(inspection: &'a Inspection, arguments: &Invalidate) -> Result<Plan<'a>, Failure> {
    let Some(name) = &arguments.function else {
        return Ok(Plan::All);
    };
    if let Some(pattern) = &arguments.matching {
        let function = target::existing_function(inspection, name).await?;
        return Ok(Plan::Matching(function, Glob::new(pattern)?));
    }
    let is_full_key = arguments.key.is_none() && name.starts_with('{');
    if !is_full_key {
        // A key of an unknown function would be reported as invalidated.
        let function = target::existing_function(inspection, name).await?;
        if arguments.key.is_none() {
            return Ok(Plan::Function(function));
        }
    }
    let target = args::Target {
        function: name.clone(),
        key: arguments.key.clone(),
    };
    // A search that ended early is no matter: the sweep goes through all keys.
    let Located { shard, key, .. } = target::locate(inspection, &target).await?;
    if let Some(shard) = shard {
        let stored = shard.read(&key, LONGEST).await?;
        if let Some(Ok(record)) = stored.record.as_deref().map(Record::read) {
            let digest = record.short_digest();
            let key = RecordKey::new(key.function, key.arguments, digest);
            return Ok(Plan::Key(shard, key));
        }
        if is_full_key && stored.record.is_none() {
            target::existing_function(inspection, &key.function.versioned()).await?;
        }
    }
    let glob = search::exactly(&key.arguments)?;
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

    /// Invalidates in all shards that may have the target, also if one of them fails.
    async fn execute(&self, inspection: &Inspection) -> Outcome {
        let who = who();
        let mut outcome = Outcome::default();
        let shards: Vec<&InspectedShard> = match self {
            Self::Key(shard, _) => vec![shard],
            Self::Matching(..) | Self::Function(_) | Self::All => {
                inspection.shards().iter().collect()
            }
        };
        for shard in shards {
            let result = match self {
                Self::Key(_, key) => shard.invalidate(Target::Key(key), &who).await,
                Self::Function(function) => {
                    shard.invalidate(Target::Function(function), &who).await
                }
                Self::All => shard.invalidate(Target::All, &who).await,
                Self::Matching(function, glob) => {
                    shard.invalidate_matching(function, glob, &who).await
                }
            };
            outcome.add(shard, result);
        }
        outcome
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

fn is_confirmed(output: &Output, what: &str) -> io::Result<bool> {
    let mut error = io::stderr().lock();
    let question = format!("invalidate {what}? (yes/no)");
    match output.is_json {
        true => {
            let document = json!({"note": question, "help": null}).to_string();
            writeln!(error, "{}", printable(&document))?;
        }
        false => write!(error, "{} ", printable(&question))?,
    }
    error.flush()?;
    // Not `read_line`, for which other bytes than UTF-8 are an error.
    let mut answer = Vec::new();
    io::stdin().lock().read_until(b'\n', &mut answer)?;
    Ok(matches!(answer.trim_ascii(), b"yes" | b"y"))
}
