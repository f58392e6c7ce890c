//! Settings of the server that connections and failovers depend on.

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

fn replicas(facts: &Facts) -> Finding {
    const CHECK: &str = "replicas";
    let at = &facts.at;
    let number = facts.number("connected_slaves").unwrap_or(0);
    // The field is there if both settings are larger than zero, also where settings are hidden.
    let is_set = facts.info("min_slaves_good_slaves").is_some();
    let setting = facts.setting("min-replicas-to-write");
    match (number, is_set, setting) {
        (0, ..) => Finding::ok(CHECK, at, "none"),
        (_, true, _) => Finding::ok(
            CHECK,
            at,
            format!("{number}, and `min-replicas-to-write` is set"),
        ),
        (_, false, None) => facts.hidden(CHECK, "min-replicas-to-write"),
        (_, false, Some(_)) => {
            let what = format!("{number}, and `min-replicas-to-write` is 0");
            Finding::new(CHECK, State::Warn, at, what)
                .means(
                    "docs/guarantees.md: \"an old primary without `min-replicas-to-write` lives on, \
                     cut off from its replicas | until it expires\": instances that still reach it \
                     return old values",
                )
                .mended_by("CONFIG SET min-replicas-to-write 1")
        }
    }
}

/// The hard limit for subscribers in bytes, zero for none. The setting is a list such as
/// `normal 0 0 0 slave … pubsub <hard> …`.
fn subscriber_limit(setting: &str) -> Option<u64> {
    let mut words = setting.split_whitespace();
    words.find(|word| *word == "pubsub")?;
    words.next()?.parse().ok()
}

fn output_buffer(facts: &Facts) -> Finding {
    const CHECK: &str = "output buffer";
    let at = &facts.at;
    let Some(limit) = facts
        .setting("client-output-buffer-limit")
        .and_then(subscriber_limit)
    else {
        return facts.hidden(CHECK, "client-output-buffer-limit");
    };
    if limit == 0 {
        return Finding::ok(CHECK, at, "subscribers have no limit");
    }
    let Some(subscribers) = &facts.subscribers else {
        return Finding::not_known(CHECK, at, "the server does not show its clients");
    };
    let fullest = subscribers.lines().filter_map(|client| {
        let field = |name: &str| {
            let mut words = client.split(' ');
            words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        Some((field("omem")?.parse::<u64>().ok()?, field("addr")?))
    });
    let Some((fullest, address)) = fullest.max() else {
        return Finding::ok(CHECK, at, "there are no subscribers");
    };
    let what = format!("{fullest} of {limit} bytes wait for {address}");
    match fullest > limit / FULL {
        true => Finding::new(CHECK, State::Warn, at, what)
            .means(
                "the server is about to disconnect a subscriber, which then isolates its instance",
            )
            .mended_by(format!(
                "CONFIG SET client-output-buffer-limit \"pubsub {} {} 60\"",
                limit.saturating_mul(4),
                limit
            )),
        false => Finding::ok(CHECK, at, format!("at most {what}")),
    }
}

fn idle_timeout(facts: &Facts) -> Finding {
    const CHECK: &str = "timeout";
    match facts.setting("timeout") {
        None => facts.hidden(CHECK, "timeout"),
        Some("0") => Finding::ok(CHECK, &facts.at, "idle connections are kept"),
        Some(seconds) => {
            let what = format!("idle connections are closed after {seconds} s");
            Finding::new(CHECK, State::Warn, &facts.at, what)
                .means("a connection that is idle for as long is lost, and its instance isolated")
                .mended_by("CONFIG SET timeout 0")
        }
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
    fn limit_of_subscribers_is_read_from_the_setting() {
        let setting = "normal 0 0 0 slave 268435456 67108864 60 pubsub 33554432 8388608 60";
        assert_eq!(subscriber_limit(setting), Some(33_554_432));
        assert_eq!(subscriber_limit("normal 0 0 0"), None);
    }
}
