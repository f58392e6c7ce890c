//! A sample of the records: whether they are whole, ours, and expire.

use std::collections::BTreeMap;

use cache_core::inspect::Record;
use cache_redis::inspect::{InspectedShard, Inspection, Place};
use redis::RedisError;

use super::finding::{Finding, State};
use crate::failure::Failure;
use crate::published::is_of_another_type;
use crate::scan::{STEP, Walk};

/// The number of keys that one round trip asks for.
const PORTION: usize = 64;

/// The bytes of records that one round trip reads. A command ends after some seconds, in which a
/// slow line must transfer them.
const PORTION_BYTES: usize = 1 << 20;

/// The largest record that is read.
const LARGEST: usize = 1 << 20;

/// The largest number of steps over the keys of all servers, which may be of other programs.
const MOST_STEPS: usize = 1_000;

/// Limits of the cost of a sample.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    /// Keys of the namespace.
    keys: usize,
    /// Bytes of records.
    bytes: usize,
}

/// The budget of all shards together.
const WHOLE: Budget = Budget {
    keys: 10_000,
    bytes: 32 << 20,
};

impl Budget {
    /// The equal share of each of so many shards.
    fn share(self, shards: usize) -> Self {
        Self {
            keys: self.keys / shards.max(1),
            bytes: self.bytes / shards.max(1),
        }
    }
}

/// The records of a sample.
#[derive(Debug, Default)]
struct Sample {
    functions: BTreeMap<String, Counts>,
    /// The steps over the keys of the servers.
    steps: usize,
    /// The walk over the keys of some shard was ended early.
    is_cut_short: bool,
}

/// The numbers of wrong records of one function.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    records: usize,
    damaged: usize,
    foreign: usize,
    without_expiry: usize,
    /// Records that would cost too much to read.
    unread: usize,
}

pub(super) async fn check(inspection: &Inspection) -> Vec<Finding> {
    let at = inspection.namespace();
    match sample(inspection).await {
        Ok(sample) => lines(at, &sample),
        Err(failure) => {
            let why = format!("the records cannot be read: {failure}");
            vec![Finding::not_known("records", at, why)]
        }
    }
}

fn lines(at: &str, sample: &Sample) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (function, counts) in &sample.functions {
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
            findings.push(mended(finding, function));
        }
    }
    if findings.is_empty() || sample.is_cut_short || sample.unread() > 0 {
        findings.push(summary(at, sample, findings.is_empty()));
    }
    findings
}

/// The line of the whole sample. Records that were not read are not called whole.
fn summary(at: &str, sample: &Sample, is_fine: bool) -> Finding {
    let functions = sample.functions.len();
    let total: usize = sample.functions.values().map(|of| of.records).sum();
    let read = total - sample.unread();
    let mut what = match is_fine {
        true => format!("{read} records of {functions} functions are whole"),
        false => format!("{read} records of {functions} functions were read"),
    };
    if sample.unread() > 0 {
        what += &format!(
            ", {} were not: they are larger than {} MiB, or than {} MiB together",
            sample.unread(),
            LARGEST >> 20,
            WHOLE.bytes >> 20
        );
    }
    if sample.is_cut_short {
        let keys = sample.steps * STEP;
        what += &format!("; the server has more keys than the {keys} that were looked at");
    }
    let is_complete = !sample.is_cut_short && sample.unread() == 0;
    match (is_fine, read > 0 || is_complete) {
        (true, true) => Finding::ok("records", at, what),
        (true, false) => Finding::not_known("records", at, what),
        (false, _) => Finding::new("records", State::Info, at, what),
    }
}

impl Sample {
    fn unread(&self) -> usize {
        self.functions.values().map(|counts| counts.unread).sum()
    }
}

fn mended(finding: Finding, function: &str) -> Finding {
    match function.is_empty() || function == UNNAMED {
        true => finding.advises("delete the keys that are not of the cache"),
        false => finding.mended_by(format!(
            "multi-tier-cached invalidate '{function}' --matching '*'"
        )),
    }
}

/// Keys that no function of the cache has.
const UNNAMED: &str = "keys without a function";

async fn sample(inspection: &Inspection) -> Result<Sample, Failure> {
    let mut sample = Sample::default();
    let share = WHOLE.share(inspection.shards().len());
    let walks = Walk::of_nodes(inspection);
    for (left, walk) in (1..=walks.len()).rev().zip(walks) {
        let most_steps = sample.steps + (MOST_STEPS - sample.steps) / left;
        sample.add(walk, share, most_steps).await?;
    }
    Ok(sample)
}

/// A record that is worth its bytes.
struct Affordable<'a> {
    function: String,
    name: &'a str,
    bytes: usize,
}

impl Sample {
    /// Adds some keys of the shards of a node, until all steps are `most_steps`.
    async fn add(
        &mut self,
        mut walk: Walk<'_>,
        share: Budget,
        most_steps: usize,
    ) -> Result<(), Failure> {
        let mut budgets = vec![share; walk.shards().len()];
        while !walk.is_finished() && budgets.iter().any(|budget| budget.keys > 0) {
            if self.steps >= most_steps {
                self.is_cut_short = true;
                break;
            }
            self.steps += 1;
            let found = walk.next().await?;
            let shards = walk.shards().iter().zip(found);
            for ((shard, mut names), budget) in shards.zip(&mut budgets) {
                names.truncate(budget.keys);
                budget.keys -= names.len();
                self.add_keys(shard, &names, budget).await?;
            }
        }
        Ok(())
    }

    /// Adds keys of a shard.
    async fn add_keys(
        &mut self,
        shard: &InspectedShard,
        names: &[String],
        budget: &mut Budget,
    ) -> Result<(), Failure> {
        for portion in names.chunks(PORTION) {
            let affordable = self.measure(shard, portion, budget).await?;
            for portion in portions(&affordable) {
                self.read(shard, portion).await?;
            }
        }
        Ok(())
    }

    /// Asks for the lengths and expiries of some keys, and returns the records to read.
    async fn measure<'a>(
        &mut self,
        shard: &InspectedShard,
        names: &'a [String],
        budget: &mut Budget,
    ) -> Result<Vec<Affordable<'a>>, Failure> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        let mut meant = Vec::new();
        for name in names {
            let Some(function) = function_of(shard, name) else {
                continue;
            };
            pipeline.cmd("STRLEN").arg(name).cmd("PTTL").arg(name);
            meant.push((function, name));
        }
        let mut affordable = Vec::new();
        // An empty pipeline is an error.
        if meant.is_empty() {
            return Ok(affordable);
        }
        let replies: Vec<Result<i64, RedisError>> =
            pipeline.query_async(&mut shard.connection()).await?;
        for ((function, name), reply) in meant.into_iter().zip(replies.chunks(2)) {
            let [length, left] = reply else {
                continue;
            };
            // It has expired since.
            if let Ok(-2) = left {
                continue;
            }
            let counts = self.functions.entry(function.clone()).or_default();
            counts.records += 1;
            counts.without_expiry += usize::from(matches!(left, Ok(-1)));
            let length = match length {
                _ if function == UNNAMED => {
                    counts.foreign += 1;
                    continue;
                }
                Err(error) if is_of_another_type(error) => {
                    counts.foreign += 1;
                    continue;
                }
                Err(error) => return Err(error.clone().into()),
                Ok(length) => usize::try_from(*length).unwrap_or_default(),
            };
            if length > LARGEST.min(budget.bytes) {
                counts.unread += 1;
                continue;
            }
            budget.bytes -= length;
            affordable.push(Affordable {
                function,
                name,
                bytes: length,
            });
        }
        Ok(affordable)
    }

    /// Reads records that were counted, and counts what is wrong with them.
    async fn read(
        &mut self,
        shard: &InspectedShard,
        records: &[Affordable<'_>],
    ) -> Result<(), Failure> {
        let mut pipeline = redis::pipe();
        pipeline.ignore_errors();
        for record in records {
            let last = LARGEST - 1;
            pipeline.cmd("GETRANGE").arg(record.name).arg(0).arg(last);
        }
        let replies: Vec<Result<Vec<u8>, RedisError>> =
            pipeline.query_async(&mut shard.connection()).await?;
        for (record, reply) in records.iter().zip(replies) {
            let Some(counts) = self.functions.get_mut(&record.function) else {
                continue;
            };
            match reply {
                // It has expired since.
                Ok(bytes) if bytes.is_empty() && record.bytes > 0 => counts.records -= 1,
                Ok(bytes) => counts.damaged += usize::from(Record::read(&bytes).is_err()),
                Err(error) if is_of_another_type(&error) => counts.foreign += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

/// The function that a key belongs to, if it is one of a record, or of another program.
fn function_of(shard: &InspectedShard, name: &str) -> Option<String> {
    match shard.key_named(name) {
        Some(key) if key.place == Place::Record => {
            let function = key.function.map(|function| function.versioned());
            Some(function.unwrap_or_default())
        }
        Some(_) => None,
        None => Some(UNNAMED.to_owned()),
    }
}

/// Splits records so that each portion has few bytes, or one record.
fn portions<'a, 'b>(mut records: &'a [Affordable<'b>]) -> Vec<&'a [Affordable<'b>]> {
    let mut portions = Vec::new();
    while !records.is_empty() {
        let mut bytes = 0;
        let fits = |record: &&Affordable<'_>| {
            bytes += record.bytes;
            bytes <= PORTION_BYTES
        };
        let fitting = records.iter().take_while(fits).count().max(1);
        let (portion, rest) = records.split_at(fitting);
        portions.push(portion);
        records = rest;
    }
    portions
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_have_equal_shares() {
        let share = WHOLE.share(8);
        assert_eq!((share.keys, share.bytes), (1_250, 4 << 20));
        assert_eq!(WHOLE.share(1), WHOLE);
    }

    #[test]
    fn round_trip_reads_few_bytes_or_one_record() {
        let of = |bytes| Affordable {
            function: String::new(),
            name: "",
            bytes,
        };
        let half = PORTION_BYTES / 2;
        let records = [half, half, 1, PORTION_BYTES, PORTION_BYTES].map(of);
        let lengths: Vec<usize> = portions(&records).iter().map(|of| of.len()).collect();
        assert_eq!(lengths, [2, 1, 1, 1]);
    }
}
