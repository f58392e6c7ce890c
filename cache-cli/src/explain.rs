//! `explain`: why a key is, or is not, answered from Redis.

use cache_core::inspect::{PublishedInstance, owner_of_token};
use cache_core::tier::RecordKey;
use cache_redis::inspect::{InspectedShard, Inspection, LeaseKind, LeaseOnKey};
use serde_json::{Value, json};

use crate::args::Target;
use crate::audit::{self, AuditEntry, time_of_day};
use crate::failure::Failure;
use crate::output::{Output, duration, printable};
use crate::record::{self, Judged, RecordState};
use crate::search;
use crate::target::{self, Located};
use crate::verdict::Verdict;
use crate::{marks, published};

/// The number of audit entries that are searched in each shard, and that are shown.
const SEARCHED: usize = 1_000;
const SHOWN: usize = 5;

/// An explanation, as lines for people and as JSON.
#[derive(Default)]
struct Explanation {
    lines: Vec<(&'static str, String)>,
    document: serde_json::Map<String, Value>,
}

impl Explanation {
    fn add(&mut self, name: &'static str, text: impl Into<String>, value: Value) {
        self.lines.push((name, text.into()));
        self.document.insert(name.to_owned(), value);
    }

    fn print(self, output: &Output) -> std::io::Result<()> {
        if output.is_json {
            return output.document(&Value::Object(self.document));
        }
        for (name, text) in self.lines {
            let mut name = name;
            for line in text.lines() {
                output.line(&format!("{name:<10} {line}"))?;
                name = "";
            }
        }
        Ok(())
    }
}

pub(crate) async fn run(
    inspection: &Inspection,
    output: &Output,
    target: &Target,
) -> Result<Verdict, Failure> {
    let located = target::locate(inspection, target).await?;
    let unfinished = located.unfinished();
    let Located { shard, key, .. } = located;
    let key = match shard {
        Some(_) => key,
        None => search::in_audit(inspection, &key).await.unwrap_or(key),
    };
    let mut explanation = Explanation::default();
    let name = key.name();
    explanation.add("key", printable(&name), json!(name));
    let instances = published::instances(inspection).await.unwrap_or_default();
    let shards: Vec<&InspectedShard> = match shard {
        Some(shard) => vec![shard],
        None => inspection.shards().iter().collect(),
    };
    let mut verdict = Verdict::Fine;
    let mut tags = Vec::new();
    match shard {
        Some(shard) => {
            let judged = record::read(inspection, shard, &key).await?;
            if judged.state.is_wrong() {
                verdict = Verdict::Wrong;
            }
            place(&mut explanation, inspection, shard, &key);
            redis(&mut explanation, &judged);
            if let (Some(record), Some(judged)) = (&judged.record, &judged.marks) {
                let document = marks::document(record, judged);
                explanation.add("marks", marks::text(record, judged), document);
            }
            if let Some(record) = judged.record {
                tags = record.tags;
            }
        }
        None => {
            let state = RecordState::Absent;
            let text = match &unfinished {
                None => format!("{}: {}", state.name(), state.meaning()),
                Some(_) => "absent as written: there is no record of exactly this key".to_owned(),
            };
            explanation.add("redis", text, json!({"state": state.name()}));
        }
    }
    lease(&mut explanation, &shards, &key, &instances).await?;
    guards(&mut explanation, inspection, &shards, &key).await?;
    memory(&mut explanation, &key, &instances);
    entries(&mut explanation, &shards, &key, &tags).await;
    explanation.print(output)?;
    if let Some((problem, help)) = unfinished {
        output.note(&problem, Some(help));
    }
    Ok(verdict)
}

fn place(
    explanation: &mut Explanation,
    inspection: &Inspection,
    shard: &InspectedShard,
    key: &RecordKey,
) {
    let name = shard.record_name(key);
    let address = inspection.node_of(shard).address();
    let text = format!("{}, at {address}", printable(&name));
    explanation.add("record", text, json!({"name": name, "address": address}));
}

fn redis(explanation: &mut Explanation, judged: &Judged) {
    let state = judged.state;
    let mut text = format!("{}: {}", state.name(), state.meaning());
    if let Some(record) = &judged.record {
        let age = duration(judged.now.saturating_sub(record.created));
        let fresh = match record.fresh_for(judged.now) {
            Some(left) => format!("fresh for {}", duration(millis(left))),
            None => "no longer fresh".to_owned(),
        };
        text += &format!(
            "\nstored {age} ago, {fresh}, load took {}, {} bytes",
            duration(millis(record.load)),
            record.payload.len()
        );
    }
    if let (Some(_), None) = (&judged.stored.record, judged.stored.left_ms) {
        text += "\nthe server never removes it: the cache stores no record without an expiry";
    }
    let header = judged.record.as_ref();
    let header = header.map(|record| record::header(judged, record));
    let document = json!({"state": state.name(), "header": header});
    explanation.add("redis", text, document);
}

fn millis(time: std::time::Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The name of the instance that has a lease, if it publishes itself.
fn owner(lease: &LeaseOnKey, instances: &[PublishedInstance]) -> String {
    let number = owner_of_token(lease.token);
    let named = instances.iter().find(|instance| instance.number == number);
    named.map_or_else(
        || format!("instance {number}"),
        |instance| instance.name.clone(),
    )
}

async fn lease(
    explanation: &mut Explanation,
    shards: &[&InspectedShard],
    key: &RecordKey,
    instances: &[PublishedInstance],
) -> Result<(), Failure> {
    let mut found = None;
    for shard in shards {
        found = found.or(shard.lease_on(key).await?);
    }
    let Some(lease) = found else {
        explanation.add("lease", "none: no instance loads the key", Value::Null);
        return Ok(());
    };
    let left = duration(lease.left_ms);
    let waiting = if lease.is_awaited {
        ", other instances wait for it"
    } else {
        ""
    };
    let holder = owner(&lease, instances);
    let shown = printable(&holder);
    let (kind, text) = match lease.kind {
        LeaseKind::BackOff => {
            let loads = lease.token;
            (
                "back-off",
                format!("none: {loads} loads in a row failed, and the next is delayed"),
            )
        }
        LeaseKind::Shared => (
            "shared",
            format!("shared by {shown} and others, for {left}{waiting}"),
        ),
        _ => ("exclusive", format!("held by {shown}, for {left}{waiting}")),
    };
    let holder = (kind != "back-off").then_some(holder);
    let document = json!({
        "kind": kind,
        "holder": holder,
        "left_ms": lease.left_ms,
        "is_awaited": lease.is_awaited,
    });
    explanation.add("lease", text, document);
    Ok(())
}

async fn guards(
    explanation: &mut Explanation,
    inspection: &Inspection,
    shards: &[&InspectedShard],
    key: &RecordKey,
) -> Result<(), Failure> {
    let mut left = Vec::new();
    for shard in shards {
        let now = inspection.node_of(shard).clock().await?;
        let guards = shard.guards_on(key).await?.into_iter();
        left.extend(guards.filter_map(|guard| guard.expires_ms.checked_sub(now)));
    }
    let text = match left.iter().max() {
        None => "none".to_owned(),
        Some(longest) => format!(
            "{}, for {} at most: no instance stores the key while a transaction writes",
            left.len(),
            duration(*longest)
        ),
    };
    explanation.add("guards", text, json!(left));
    Ok(())
}

fn memory(explanation: &mut Explanation, key: &RecordKey, instances: &[PublishedInstance]) {
    let is_of = |name: &str, version: u32| {
        let function = cache_core::tier::FunctionKey::new(name, version);
        function.name == key.function.name && version == key.function.version
    };
    let mut lines = vec!["which keys an instance has in its memory is not published".to_owned()];
    let mut documents = Vec::new();
    for instance in instances {
        let functions = &instance.snapshot.functions;
        let Some(of) = functions.iter().find(|of| is_of(&of.name, of.version)) else {
            continue;
        };
        let first = of.tiers.first();
        let (hits, misses) = first.map_or((0, 0), |tier| (tier.hits, tier.misses));
        lines.push(format!(
            "{}: {hits} hits and {misses} misses of the function, {} loads",
            printable(&instance.name),
            of.loads
        ));
        documents.push(json!({
            "instance": instance.id,
            "hits": hits,
            "misses": misses,
            "loads": of.loads,
        }));
    }
    explanation.add("memory", lines.join("\n"), json!(documents));
}

/// The last entries of the audit that concern the key, or a tag of its record.
async fn entries(
    explanation: &mut Explanation,
    shards: &[&InspectedShard],
    key: &RecordKey,
    tags: &[u64],
) {
    let (function, name) = (key.function.versioned(), key.name());
    let mut found: Vec<AuditEntry> = Vec::new();
    for shard in shards {
        let stream = shard.controls().audit;
        let entries = audit::last(&mut shard.connection(), &stream, SEARCHED).await;
        let entries = match entries {
            Ok(entries) => entries.into_iter(),
            Err(error) => {
                explanation.add("audit", format!("not known: {error}"), Value::Null);
                return;
            }
        };
        found.extend(
            entries.filter(|entry| entry.concerns(&function, &name) || entry.concerns_tags(tags)),
        );
    }
    found.sort_by_key(AuditEntry::millis);
    let found = &found[found.len().saturating_sub(SHOWN)..];
    let lines: Vec<String> = found
        .iter()
        .map(|entry| {
            format!(
                "{} UTC, {}: {}",
                time_of_day(entry.millis()),
                printable(&entry.who),
                printable(&entry.what)
            )
        })
        .collect();
    let text = match lines.is_empty() {
        true => "no entry concerns the key".to_owned(),
        false => lines.join("\n"),
    };
    let document = found
        .iter()
        .map(|entry| json!({"time_ms": entry.millis(), "who": entry.who, "what": entry.what}))
        .collect();
    explanation.add("audit", text, document);
}
