//! A sample of the records: whether they are whole, ours, and expire.

use std::collections::BTreeMap;

use cache_core::inspect::Record;
use cache_redis::inspect::{InspectedShard, Inspection, Place};

use super::finding::{Finding, State};
use crate::failure::Failure;
use crate::scan::Scan;

/// The largest number of keys in the sample.
const SAMPLE: usize = 10_000;

/// The number of records that one round trip reads.
const PORTION: usize = 64;

/// Index of the last byte that is read of a record. A larger one is not checked.
const LAST: usize = (1 << 20) - 1;

/// The numbers of wrong records of one function.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    records: usize,
    damaged: usize,
    foreign: usize,
    without_expiry: usize,
}

pub(super) async fn check(inspection: &Inspection) -> Vec<Finding> {
    let at = inspection.namespace();
    match sample(inspection).await {
        Ok(functions) => lines(at, &functions),
        Err(failure) => {
            let why = format!("the records cannot be read: {failure}");
            vec![Finding::not_known("records", at, why)]
        }
    }
}

fn lines(at: &str, functions: &BTreeMap<String, Counts>) -> Vec<Finding> {
    let mut findings = Vec::new();
    let total: usize = functions.values().map(|counts| counts.records).sum();
    for (function, counts) in functions {
        let bad = [
            (
                counts.foreign,
                "are not of this cache",
                "another program writes under these names, and its keys are replaced",
            ),
            (
                counts.damaged,
                "are damaged",
                "something else than the cache changed them; each costs one load",
            ),
            (
                counts.without_expiry,
                "have no expiry",
                "another program removed it, so they are never removed",
            ),
        ];
        for (number, what, meaning) in bad.into_iter().filter(|(number, ..)| *number > 0) {
            let what = format!("{function}: {number} of {} {what}", counts.records);
            let finding = Finding::new("records", State::Warn, at, what).means(meaning);
            findings.push(finding.mended_by(mend(function)));
        }
    }
    if findings.is_empty() {
        let what = format!("{total} records of {} functions are whole", functions.len());
        findings.push(Finding::ok("records", at, what));
    }
    findings
}

fn mend(function: &str) -> String {
    match function.is_empty() || function == UNNAMED {
        true => "redis-cli --scan, and delete the keys that are not of the cache".to_owned(),
        false => format!("multi-tier-cached invalidate '{function}' --matching '*'"),
    }
}

/// Keys that no function of the cache has.
const UNNAMED: &str = "keys without a function";

async fn sample(inspection: &Inspection) -> Result<BTreeMap<String, Counts>, Failure> {
    let mut functions = BTreeMap::new();
    let mut left = SAMPLE;
    for shard in inspection.shards() {
        let mut scan = Scan::new(shard, shard.pattern());
        while let Some(mut names) = scan.next().await? {
            names.truncate(left);
            left -= names.len();
            for portion in names.chunks(PORTION) {
                look_at(shard, portion, &mut functions).await?;
            }
            if left == 0 {
                return Ok(functions);
            }
        }
    }
    Ok(functions)
}

/// Reads some records, and counts what is wrong with them.
async fn look_at(
    shard: &InspectedShard,
    names: &[String],
    functions: &mut BTreeMap<String, Counts>,
) -> Result<(), Failure> {
    let mut pipeline = redis::pipe();
    pipeline.ignore_errors();
    let mut meant = Vec::new();
    for name in names {
        let function = match shard.key_named(name) {
            Some(key) if key.place == Place::Record => key
                .function
                .map_or_else(String::new, |function| function.versioned()),
            Some(_) => continue,
            None => UNNAMED.to_owned(),
        };
        pipeline.cmd("GETRANGE").arg(name).arg(0).arg(LAST);
        pipeline.cmd("PTTL").arg(name);
        meant.push(function);
    }
    // An empty pipeline is an error.
    if meant.is_empty() {
        return Ok(());
    }
    let mut connection = shard.connection();
    let replies: Vec<Result<redis::Value, redis::RedisError>> =
        pipeline.query_async(&mut connection).await?;
    for (function, reply) in meant.into_iter().zip(replies.chunks(2)) {
        let is_foreign = function == UNNAMED;
        let counts = functions.entry(function).or_default();
        count(counts, is_foreign, reply);
    }
    Ok(())
}

fn count(counts: &mut Counts, is_foreign: bool, reply: &[Result<redis::Value, redis::RedisError>]) {
    let [bytes, left] = reply else {
        return;
    };
    let bytes = match bytes {
        Ok(redis::Value::BulkString(bytes)) if bytes.is_empty() => return, // It has expired since.
        Ok(redis::Value::BulkString(bytes)) => Some(bytes),
        // A list, a hash, or a key that may not be read.
        _ => None,
    };
    counts.records += 1;
    if let Ok(redis::Value::Int(-1)) = left {
        counts.without_expiry += 1;
    }
    match bytes {
        _ if is_foreign => counts.foreign += 1,
        None => counts.foreign += 1,
        Some(bytes) if bytes.len() <= LAST && Record::read(bytes).is_err() => counts.damaged += 1,
        Some(_) => {}
    }
}
