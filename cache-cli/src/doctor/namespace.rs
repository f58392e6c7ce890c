//! The state that instances keep on the server: history, heartbeat, instances, audit.

use cache_redis::inspect::{HEARTBEAT_LIFE, InspectedShard, Inspection, Listeners};

use super::finding::{Finding, State};
use super::layout;
use super::node::ask;
use crate::failure::in_full;

/// The age of a heartbeat from which on no instance writes. It is written each second.
const OLD: u64 = 5_000;

pub(super) async fn check(inspection: &Inspection) -> Vec<Finding> {
    let mut findings = vec![place(inspection), layout::check(inspection).await];
    for shard in inspection.shards() {
        findings.extend(state(inspection, shard).await);
    }
    findings.push(audit(inspection).await);
    findings
}

/// Counts the entries of the audit in all shards.
async fn audit(inspection: &Inspection) -> Finding {
    const CHECK: &str = "audit";
    let name = inspection.namespace();
    let mut entries = 0;
    for shard in inspection.shards() {
        let stream = shard.controls().audit;
        let length = ask::<u64>(&mut shard.connection(), &["XLEN", &stream]).await;
        let Some(length) = length else {
            return Finding::not_known(CHECK, name, "the server does not answer `XLEN`");
        };
        entries += length;
    }
    match entries {
        0 => Finding::ok(
            CHECK,
            name,
            "no entries: no instance has `Redis::audit`, or none has invalidated",
        ),
        _ => Finding::ok(CHECK, name, format!("{entries} entries")),
    }
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
    let left: Option<i64> = ask(&mut connection, &["PTTL", &names.heartbeat]).await;
    let listeners = shard.listeners().await.ok();
    vec![
        history(&at, shard).await,
        heartbeat(&at, left, listeners),
        instances(&at, listeners),
    ]
}

fn instances(at: &str, listeners: Option<Listeners>) -> Finding {
    const CHECK: &str = "instances";
    let Some(Listeners {
        instances, tools, ..
    }) = listeners
    else {
        return Finding::not_known(CHECK, at, "the server does not count subscribers");
    };
    let mut what = format!("{instances} listen to the channel");
    if tools > 0 {
        what += &format!(", and {tools} times `tail`");
    }
    Finding::ok(CHECK, at, what)
}

async fn history(at: &str, shard: &InspectedShard) -> Finding {
    match shard.history().await {
        Ok(history) => history_line(at, history, shard.sequence().await.ok().flatten()),
        Err(error) => Finding::not_known("history", at, in_full(&error)),
    }
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

/// `left`: the reply to `PTTL`, negative if there is no heartbeat; `None` without a reply.
fn heartbeat(at: &str, left: Option<i64>, listeners: Option<Listeners>) -> Finding {
    const CHECK: &str = "heartbeat";
    let Some(left) = left else {
        return Finding::not_known(CHECK, at, "the server does not answer `PTTL`");
    };
    let life = u64::try_from(HEARTBEAT_LIFE.as_millis()).unwrap_or(u64::MAX);
    let age = u64::try_from(left).ok();
    let age = age.map(|left| life.saturating_sub(left));
    let instances = listeners.map(|listeners| listeners.instances);
    let what = match age {
        Some(age) if age <= OLD => {
            return Finding::ok(CHECK, at, format!("written {age} ms ago"));
        }
        Some(age) => format!("written {age} ms ago"),
        None => "none".to_owned(),
    };
    match (age, instances) {
        (_, Some(1..)) => {
            let what = format!("{what}, and instances are connected");
            Finding::new(CHECK, State::Warn, at, what)
                .means("instances cannot write, so they will give their connections up")
                .advises("look at the memory of the server, and at the logs of the instances")
        }
        (_, None) => {
            let why = format!("{what}, and the server does not count the instances");
            Finding::not_known(CHECK, at, why)
        }
        (Some(_), Some(0)) => {
            let why = format!("{what}, by an instance that has ended");
            Finding::not_known(CHECK, at, why)
        }
        (None, Some(0)) => Finding::not_known(CHECK, at, "no instance is connected"),
    }
}
