//! Settings of the server that connections and failovers depend on.

use std::fmt;

use super::finding::{Finding, State};
use super::node::Facts;

/// The share of the limit of a buffer from which on a client is about to be disconnected.
const FULL: u64 = 2;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        replicas(facts),
        output_buffer(facts),
        idle_timeout(facts),
        keepalive(facts),
    ];
    findings.extend(coverage(facts));
    findings
}

/// The settings by which a primary that is cut off from its replicas stops taking writes, each with
/// a value to propose. If one of them is 0, the primary continues to take writes.
const FENCES: [(&str, u32); 2] = [("min-replicas-to-write", 1), ("min-replicas-max-lag", 10)];

fn replicas(facts: &Facts) -> Finding {
    const CHECK: &str = "replicas";
    let at = &facts.at;
    let number = match facts.number("connected_slaves") {
        None => {
            return Finding::not_known(CHECK, at, "the server does not show `connected_slaves`");
        }
        Some(0) => return Finding::ok(CHECK, at, "none"),
        Some(number) => number,
    };
    // The field is there if both settings are larger than zero, also where settings are hidden.
    if facts.info("min_slaves_good_slaves").is_some() {
        let what = format!("{number}, and `min-replicas-to-write` is set");
        return Finding::ok(CHECK, at, what);
    }
    let is_zero = |(setting, _): &&(&str, u32)| facts.setting(setting) == Some("0");
    let zero: Vec<_> = FENCES.iter().filter(is_zero).collect();
    if zero.is_empty() {
        return facts.hidden(CHECK, "min-replicas-to-write");
    }
    let named = zero.iter().map(|(setting, _)| format!("`{setting}` is 0"));
    let named: Vec<String> = named.collect();
    let proposed = zero
        .iter()
        .map(|(setting, value)| format!("{setting} {value}"));
    let proposed: Vec<String> = proposed.collect();
    let what = format!("{number}, and {}", named.join(", "));
    Finding::new(CHECK, State::Warn, at, what)
        .means(
            "docs/guarantees.md: \"an old primary without `min-replicas-to-write` lives on, cut \
             off from its replicas | until it expires\": instances that still reach it return old \
             values",
        )
        .mended_by(format!("CONFIG SET {}", proposed.join(" ")))
}

/// The limits of the output buffer of a subscriber, in bytes. Zero is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct BufferLimits {
    /// A subscriber is disconnected at once.
    hard: u64,
    /// A subscriber is disconnected that is above it for `seconds`.
    soft: u64,
    seconds: u64,
}

impl BufferLimits {
    /// Reads the setting, a list such as `normal 0 0 0 slave … pubsub <hard> <soft> <seconds>`.
    fn read(setting: &str) -> Option<Self> {
        let mut words = setting.split_whitespace();
        words.find(|word| *word == "pubsub")?;
        let mut number = || words.next()?.parse().ok();
        Some(Self {
            hard: number()?,
            soft: number()?,
            seconds: number()?,
        })
    }

    /// Returns `true` if the server is about to disconnect a subscriber for which so much waits.
    fn are_near(self, bytes: u64) -> bool {
        (self.hard > 0 && bytes > self.hard / FULL) || (self.soft > 0 && bytes > self.soft)
    }

    /// The command that sets larger limits.
    fn larger(self) -> String {
        let (hard, soft) = (self.hard.saturating_mul(4), self.soft.saturating_mul(4));
        let seconds = self.seconds;
        format!("CONFIG SET client-output-buffer-limit \"pubsub {hard} {soft} {seconds}\"")
    }
}

impl fmt::Display for BufferLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            hard,
            soft,
            seconds,
        } = self;
        match (hard, soft) {
            (_, 0) => write!(f, "{hard}"),
            (0, _) => write!(f, "{soft} for {seconds} s"),
            _ => write!(f, "{hard}, or {soft} for {seconds} s"),
        }
    }
}

fn output_buffer(facts: &Facts) -> Finding {
    const CHECK: &str = "output buffer";
    let at = &facts.at;
    let Some(limits) = facts
        .setting("client-output-buffer-limit")
        .and_then(BufferLimits::read)
    else {
        return facts.hidden(CHECK, "client-output-buffer-limit");
    };
    if (limits.hard, limits.soft) == (0, 0) {
        return Finding::ok(CHECK, at, "subscribers have no limit");
    }
    let Some(subscribers) = &facts.subscribers else {
        return Finding::not_known(CHECK, at, "the server does not show its clients");
    };
    let fullest = subscribers.lines().filter_map(waiting_for);
    let Some((fullest, address)) = fullest.max() else {
        return Finding::ok(CHECK, at, "there are no subscribers");
    };
    let what = format!("{fullest} bytes wait for {address}, the limit is {limits}");
    match limits.are_near(fullest) {
        true => Finding::new(CHECK, State::Warn, at, what)
            .means(
                "the server is about to disconnect a subscriber, which then isolates its instance",
            )
            .mended_by(limits.larger()),
        false => Finding::ok(CHECK, at, format!("at most {what}")),
    }
}

/// The bytes that wait for a client, and its address, by its line in the list of clients. `None`
/// for a client of another program: instances subscribe to channels of shards only.
fn waiting_for(client: &str) -> Option<(u64, &str)> {
    let field = |name: &str| {
        let mut words = client.split(' ');
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    // Redis before 7.0.3 does not show the number of these channels.
    match field("ssub") {
        Some("0") => None,
        _ => Some((field("omem")?.parse().ok()?, field("addr")?)),
    }
}

/// The shortest time in seconds for which connections may be idle. Instances write each second, so
/// the server closes none of theirs, unless it closes before an instance that is slow has written.
const SHORTEST_IDLE: u64 = 5;

fn idle_timeout(facts: &Facts) -> Finding {
    const CHECK: &str = "timeout";
    let at = &facts.at;
    let seconds = facts.setting("timeout");
    let Some(seconds) = seconds.and_then(|seconds| seconds.parse().ok()) else {
        return facts.hidden(CHECK, "timeout");
    };
    let what = format!("idle connections are closed after {seconds} s");
    match seconds {
        0 => Finding::ok(CHECK, at, "idle connections are kept"),
        1..SHORTEST_IDLE => Finding::new(CHECK, State::Warn, at, what)
            .means(
                "instances write each second: one that is slow for as long loses its connection, \
                 and is isolated until it has another one",
            )
            .mended_by(format!("CONFIG SET timeout {}", 60 * SHORTEST_IDLE)),
        _ => Finding::ok(CHECK, at, what).means(
            "instances write each second, and the server never closes subscribers, so it closes \
             no connection of theirs that is in use",
        ),
    }
}

fn keepalive(facts: &Facts) -> Finding {
    const CHECK: &str = "tcp-keepalive";
    match facts.setting("tcp-keepalive") {
        None => facts.hidden(CHECK, "tcp-keepalive"),
        Some("0") => Finding::new(
            CHECK,
            State::Warn,
            &facts.at,
            "the server does not probe connections",
        )
        .means("connections of instances that have crashed are kept, with their buffers")
        .mended_by("CONFIG SET tcp-keepalive 300"),
        Some(seconds) => Finding::ok(CHECK, &facts.at, format!("{seconds} s")),
    }
}

/// `None` for a server that is no cluster.
fn coverage(facts: &Facts) -> Option<Finding> {
    const CHECK: &str = "coverage";
    if facts.info("cluster_enabled") != Some("1") {
        return None;
    }
    Some(match facts.setting("cluster-require-full-coverage") {
        None => facts.hidden(CHECK, "cluster-require-full-coverage"),
        Some("yes") => Finding::new(
            CHECK,
            State::Warn,
            &facts.at,
            "`cluster-require-full-coverage` is yes",
        )
        .means("all nodes refuse everything while one slot has no primary")
        .mended_by("CONFIG SET cluster-require-full-coverage no"),
        Some(_) => Finding::ok(
            CHECK,
            &facts.at,
            "nodes answer also if a slot has no primary",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_settings_are_not_known_and_never_ok() {
        let facts = Facts::of(&[("connected_slaves", "1")], &[]);
        for finding in check(&facts) {
            assert_eq!(finding.state, State::NotKnown, "{finding:?}");
        }
        let facts = Facts::of(
            &[("connected_slaves", "1"), ("min_slaves_good_slaves", "1")],
            &[],
        );
        assert_eq!(replicas(&facts).state, State::Ok, "INFO shows it");
    }

    #[test]
    fn number_of_replicas_that_is_not_shown_is_not_known() {
        assert_eq!(replicas(&Facts::of(&[], &[])).state, State::NotKnown);
    }

    #[test]
    fn limits_of_subscribers_are_read_from_the_setting() {
        let setting = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        let limits = BufferLimits::read(setting).unwrap();
        assert_eq!(limits.to_string(), "33554432, or 8388608 for 60 s");
        assert!(!limits.are_near(8_388_608));
        assert!(limits.are_near(8_388_609), "the soft limit");
        let hard = BufferLimits { soft: 0, ..limits };
        assert!(!hard.are_near(16_777_216));
        assert!(hard.are_near(16_777_217), "half of the hard limit");
        assert!(!BufferLimits { hard: 0, ..hard }.are_near(u64::MAX));
        assert_eq!(BufferLimits::read("normal 0 0 0"), None);
    }
}
