//! The state that instances keep on the server: history, heartbeat, instances, audit.

use cache_redis::inspect::{HEARTBEAT_LIFE, InspectedShard, Inspection};

use super::finding::{Finding, State};
use super::node::ask;
use crate::failure::in_full;

/// The age of a heartbeat from which on no instance writes. It is written each second.
const OLD: u64 = 5_000;

pub(super) async fn check(inspection: &Inspection) -> Vec<Finding> {
    let mut findings = vec![place(inspection)];
    let mut entries = 0;
    for shard in inspection.shards() {
        findings.extend(state(inspection, shard).await);
        let audit = shard.controls().audit;
        entries += ask::<u64>(&mut shard.connection(), &["XLEN", &audit])
            .await
            .unwrap_or(0);
    }
    let name = inspection.namespace();
    findings.push(match entries {
        0 => Finding::ok(
            "audit",
            name,
            "no entries: no instance has `Redis::audit`, or none has invalidated",
        ),
        _ => Finding::ok("audit", name, format!("{entries} entries")),
    });
    findings
}

/// Names the nodes of the namespace.
fn place(inspection: &Inspection) -> Finding {
    let nodes: Vec<String> = inspection
        .nodes()
        .iter()
        .map(|node| {
            let is_here =
                |shard: &&InspectedShard| inspection.node_of(shard).address() == node.address();
            let here = inspection.shards().iter().filter(is_here);
            let indices: Vec<String> = here.map(|shard| shard.index().to_string()).collect();
            (node.address(), indices)
        })
        .filter(|(_, indices)| !indices.is_empty())
        .map(|(address, indices)| format!("shard {} at {address}", indices.join(", ")))
        .collect();
    Finding::ok("namespace", inspection.namespace(), nodes.join("; "))
}

async fn state(inspection: &Inspection, shard: &InspectedShard) -> Vec<Finding> {
    let at = match inspection.shards().len() {
        1 => inspection.namespace().to_owned(),
        _ => format!("{}, shard {}", inspection.namespace(), shard.index()),
    };
    let mut connection = shard.connection();
    let names = shard.controls();
    let subscribers: Option<(String, u64)> =
        ask(&mut connection, &["PUBSUB", "SHARDNUMSUB", &names.channel]).await;
    let subscribers = subscribers.map(|(_, number)| number);
    let left: Option<i64> = ask(&mut connection, &["PTTL", &names.heartbeat]).await;
    let history = match shard.history().await {
        Ok(history) => history,
        Err(error) => return vec![Finding::new("history", State::Fail, &at, in_full(&error))],
    };
    let sequence = shard.sequence().await.ok().flatten();
    vec![
        history_line(&at, history, sequence),
        heartbeat(
            &at,
            left.and_then(|left| u64::try_from(left).ok()),
            subscribers,
        ),
        match subscribers {
            Some(number) => {
                Finding::ok("instances", &at, format!("{number} listen to the channel"))
            }
            None => Finding::not_known("instances", &at, "the server does not count subscribers"),
        },
    ]
}

fn history_line(at: &str, history: Option<u64>, sequence: Option<u64>) -> Finding {
    match (history, sequence) {
        (Some(history), Some(sequence)) => {
            Finding::ok("history", at, format!("{history}, last message {sequence}"))
        }
        (Some(_), None) => Finding::new(
            "history",
            State::Warn,
            at,
            "there is no sequence of messages",
        )
        .means("the key was evicted or deleted; instances begin it again, and void their memory"),
        (None, _) => Finding::not_known("history", at, "no instance has begun one")
            .means("check `--namespace`, unless no instance has connected yet"),
    }
}

fn heartbeat(at: &str, left: Option<u64>, subscribers: Option<u64>) -> Finding {
    let life = u64::try_from(HEARTBEAT_LIFE.as_millis()).unwrap_or(u64::MAX);
    let age = left.map(|left| life.saturating_sub(left));
    match (age, subscribers) {
        (Some(age), _) if age <= OLD => {
            Finding::ok("heartbeat", at, format!("written {age} ms ago"))
        }
        (age, Some(1..)) => {
            let what = match age {
                Some(age) => format!("written {age} ms ago, and instances are connected"),
                None => "none, and instances are connected".to_owned(),
            };
            Finding::new("heartbeat", State::Warn, at, what)
                .means("instances cannot write, so they will give their connections up")
                .mended_by("redis-cli INFO memory, and the logs of the instances")
        }
        (Some(age), _) => Finding::not_known(
            "heartbeat",
            at,
            format!("written {age} ms ago, by an instance that has ended"),
        ),
        (None, _) => Finding::not_known("heartbeat", at, "no instance is connected"),
    }
}
