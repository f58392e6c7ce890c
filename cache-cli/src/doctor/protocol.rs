//! How the server answers: order of messages, identity, latency, clock.

use std::time::Duration;

use cache_core::unix_millis;
use cache_redis::inspect::{InspectedShard, Inspection, Node};
use redis::aio::MultiplexedConnection;
use tokio::time::Instant;

use super::finding::{Finding, State};
use super::node::{Facts, ask};
use crate::failure::in_full;

/// The number of messages, and of pings.
const ROUNDS: u64 = 100;

/// The number of connections that are compared with the first one.
const OTHERS: usize = 3;

/// The largest difference of two clocks that makes no difference in the times that are shown.
const SAME_TIME: u64 = 2_000;

pub(super) async fn check(
    inspection: &Inspection,
    node: &Node,
    shard: &InspectedShard,
    facts: &Facts,
) -> Vec<Finding> {
    let at = &facts.at;
    let limit = inspection.time_limit();
    let clock = match node.clock().await {
        Ok(server) => clock(at, server, unix_millis()),
        Err(error) => Finding::not_known("clock", at, in_full(&error)),
    };
    vec![
        identity(at, node, facts).await,
        messages(at, node, shard).await,
        latency(at, pings(node.connection()).await, limit),
        clock,
    ]
}

/// Checks that a message arrives before the reply to a command that was sent after it. Coherence
/// relies on it, and a proxy with a connection of its own for messages would break it.
async fn messages(at: &str, node: &Node, shard: &InspectedShard) -> Finding {
    let failed = |what: String| {
        Finding::new("messages", State::Fail, at, what)
            .means(
                "instances cannot prove that they have received every invalidation, so values \
                 could be stale for longer than the bound",
            )
            .advises("use the server without the proxy in front of it")
    };
    let mut messages = match shard.scratch_messages(node).await {
        Ok(messages) => messages,
        Err(error) => return failed(in_full(&error)),
    };
    let channel = shard.controls().scratch;
    let (mut data, mut subscribed) = (node.connection(), messages.connection());
    for round in 1..=ROUNDS {
        let payload = format!("{round}:s:0");
        let sent: Option<u64> = ask(&mut data, &["SPUBLISH", &channel, &payload]).await;
        let answered: Option<String> = ask(&mut subscribed, &["PING"]).await;
        if sent.is_none() || answered.is_none() {
            return failed(format!("the server does not answer in round {round}"));
        }
        let arrived = messages.arrived();
        if !arrived.iter().any(|message| message.number == Some(round)) {
            let what =
                format!("message {round} arrives after the reply to a later command, or never");
            return failed(what);
        }
    }
    let what = format!("{ROUNDS} of {ROUNDS} arrive before the reply to a later command");
    Finding::ok("messages", at, what)
}

/// Checks that several connections lead to one server.
async fn identity(at: &str, node: &Node, facts: &Facts) -> Finding {
    const CHECK: &str = "identity";
    let Some(first) = facts.info("run_id") else {
        return Finding::new(CHECK, State::Fail, at, "the server reports no `run_id`")
            .means("a failover could not be noticed, so instances do not use this server");
    };
    for _ in 0..OTHERS {
        let Ok((mut connection, _driver)) = node.open().await else {
            return Finding::not_known(CHECK, at, "another connection was refused");
        };
        let info: Option<String> = ask(&mut connection, &["INFO", "server"]).await;
        let info = info.unwrap_or_default();
        let run_id = info.lines().find_map(|line| line.strip_prefix("run_id:"));
        if run_id.map(str::trim_end) != Some(first) {
            return Finding::new(
                CHECK,
                State::Fail,
                at,
                "two connections lead to two servers",
            )
            .means("the address is of a balancer: records and messages are on different servers")
            .advises("use the address of the primary itself");
        }
    }
    Finding::ok(
        CHECK,
        at,
        format!("{} connections lead to one server", OTHERS + 1),
    )
}

/// Measures pings, in microseconds.
async fn pings(mut connection: MultiplexedConnection) -> Option<Vec<u64>> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let began = Instant::now();
        ask::<String>(&mut connection, &["PING"]).await?;
        times.push(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
    times.sort_unstable();
    Some(times)
}

fn latency(at: &str, times: Option<Vec<u64>>, limit: Duration) -> Finding {
    let slow = |what: String| {
        Finding::new("latency", State::Fail, at, what)
            .means("calls give the server up and run their bodies")
            .advises("raise `Redis::time_limit`, or move the program nearer to the server")
    };
    let Some(times) = times else {
        return slow("a ping was not answered".to_owned());
    };
    let at_rank = |percent: usize| times[(times.len() * percent).div_ceil(100).max(1) - 1];
    let (median, p99) = (at_rank(50), Duration::from_micros(at_rank(99)));
    let shown = |micros: u64| format!("{}.{:02} ms", micros / 1000, micros % 1000 / 10);
    let p99_shown = shown(u64::try_from(p99.as_micros()).unwrap_or(u64::MAX));
    let what = format!(
        "median {}, p99 {p99_shown}, time limit {limit:?}",
        shown(median)
    );
    if p99 > limit {
        return slow(what);
    }
    match p99 > limit / 4 {
        true => Finding::new("latency", State::Warn, at, what)
            .means("a call with several round trips may give the server up")
            .advises("raise `Redis::time_limit`, or move the program nearer to the server"),
        false => Finding::ok("latency", at, what),
    }
}

fn clock(at: &str, server: u64, here: u64) -> Finding {
    let apart = server.abs_diff(here);
    match apart > SAME_TIME {
        true => Finding::new(
            "clock",
            State::Info,
            at,
            format!("{} ms from that of this host", apart),
        )
        .means("only the times that are shown are wrong: records expire by the server's clock")
        .mended_by("timedatectl set-ntp true"),
        false => Finding::ok("clock", at, "that of this host, within 2 s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clock_that_differs_by_more_than_two_seconds_is_shown_and_harms_nothing() {
        assert_eq!(clock("a", 10_000, 12_000).state, State::Ok);
        assert_eq!(clock("a", 12_001, 10_000).state, State::Info);
        assert_eq!(clock("a", 10_000, 12_001).state, State::Info);
    }

    #[test]
    fn latency_is_judged_by_its_99th_percentile_and_the_time_limit() {
        let limit = Duration::from_millis(4);
        let of = |slowest: u64, many: usize| {
            let mut times = vec![100; 100 - many];
            times.extend(vec![slowest; many]);
            latency("a", Some(times), limit).state
        };
        assert_eq!(of(9_000, 1), State::Ok, "one of a hundred");
        assert_eq!(of(1_001, 2), State::Warn);
        assert_eq!(of(4_001, 2), State::Fail);
        assert_eq!(latency("a", None, limit).state, State::Fail);
    }
}
