//! `keys`: lists functions, and the keys of one.

use std::collections::{BTreeMap, HashSet};

use cache_core::tier::Glob;
use cache_redis::inspect::{Inspection, Place};
use serde_json::json;

use crate::args::Keys;
use crate::failure::Failure;
use crate::output::Output;
use crate::scan::Scan;
use crate::target;
use crate::verdict::Verdict;

pub(crate) async fn run(
    inspection: &Inspection,
    output: &Output,
    arguments: &Keys,
) -> Result<Verdict, Failure> {
    match &arguments.function {
        Some(function) => keys(inspection, output, arguments, function).await,
        None => functions(inspection, output, arguments.limit).await,
    }
}

async fn keys(
    inspection: &Inspection,
    output: &Output,
    arguments: &Keys,
    function: &str,
) -> Result<Verdict, Failure> {
    let function = target::function(inspection, function).await?;
    let glob = Glob::new(arguments.glob.as_deref().unwrap_or("*"))?;
    // A scan may return a key twice.
    let mut seen = HashSet::new();
    for shard in inspection.shards() {
        let mut scan = Scan::new(shard, shard.pattern_of(&function));
        while let Some(names) = scan.next().await? {
            let keys = names.into_iter().filter_map(|name| {
                let key = shard.key_named(&name)?;
                let is_meant = key.place == Place::Record && glob.matches(&key.arguments);
                is_meant.then_some((name, key.arguments))
            });
            for (name, of) in keys {
                if seen.contains(&name) {
                    continue;
                }
                if seen.len() == arguments.limit {
                    more(output, "there are more keys", "use `--limit`, or a pattern")?;
                    return Ok(Verdict::Fine);
                }
                let function = function.versioned();
                let document = || json!({"function": function, "arguments": of, "key": name});
                output.entry(&of, document)?;
                seen.insert(name);
            }
        }
    }
    Ok(Verdict::Fine)
}

async fn functions(
    inspection: &Inspection,
    output: &Output,
    limit: usize,
) -> Result<Verdict, Failure> {
    let mut records: BTreeMap<String, u64> = BTreeMap::new();
    for shard in inspection.shards() {
        let mut scan = Scan::new(shard, shard.pattern());
        while let Some(names) = scan.next().await? {
            for key in names.iter().filter_map(|name| shard.key_named(name)) {
                let is_of_a_function = matches!(key.place, Place::Record | Place::Epoch);
                let Some(function) = key.function.filter(|_| is_of_a_function) else {
                    continue;
                };
                let number = records.entry(function.versioned()).or_default();
                *number += u64::from(key.place == Place::Record);
            }
        }
    }
    for (function, number) in records.iter().take(limit) {
        let text = format!("{number:>9}  {function}");
        output.entry(&text, || json!({"function": function, "records": number}))?;
    }
    if records.len() > limit {
        more(output, "there are more functions", "use `--limit`")?;
    }
    Ok(Verdict::Fine)
}

/// Says that the list was cut: in JSON by a document, so that a program that reads it notices.
fn more(output: &Output, text: &str, help: &str) -> Result<(), Failure> {
    match output.is_json {
        true => output.document(&json!({"more": true}))?,
        false => output.note(text, Some(help)),
    }
    Ok(())
}
