//! The memory of the server, and what it evicts.

use super::finding::{Finding, State};
use super::node::Facts;

pub(super) fn check(facts: &Facts) -> Vec<Finding> {
    vec![policy(facts), evictions(facts)]
}

fn policy(facts: &Facts) -> Finding {
    const CHECK: &str = "eviction";
    let at = &facts.at;
    let Some(most) = facts.number("maxmemory") else {
        return Finding::not_known(CHECK, at, "the server does not show `maxmemory`");
    };
    let policy = facts
        .info("maxmemory_policy")
        .or_else(|| facts.setting("maxmemory-policy"));
    let Some(policy) = policy else {
        return facts.hidden(CHECK, "maxmemory-policy");
    };
    let what = format!("`maxmemory-policy` is {policy}, `maxmemory` is {most}");
    let bad = |meaning: &str| {
        Finding::new(CHECK, State::Warn, at, what.clone())
            .means(meaning)
            .mended_by(better_policy(policy))
    };
    match (most, policy) {
        (0, _) => Finding::ok(CHECK, at, "`maxmemory` is not set"),
        (_, "noeviction") => bad(
            "fills are refused while the server is full, so calls run their bodies; with the \
             policy below, keys with an expiry are evicted instead, those of other programs too",
        ),
        (_, "allkeys-random" | "volatile-random") => {
            bad("the keys that invalidation relies on are evicted, however often they are used")
        }
        (_, "volatile-ttl") => bad(
            "leases and write guards are evicted first, so several instances load a key at a time",
        ),
        _ => Finding::ok(CHECK, at, what),
    }
}

/// The command that sets a policy which evicts no key that has no expiry, unless the server evicts
/// such keys already: they may be the only copy of what another program has stored.
fn better_policy(policy: &str) -> String {
    let better = match policy.starts_with("allkeys-") {
        true => "allkeys-lru",
        false => "volatile-lru",
    };
    format!("CONFIG SET maxmemory-policy {better}")
}

/// Checks whether records are evicted because keys without an expiry fill the memory.
fn evictions(facts: &Facts) -> Finding {
    const CHECK: &str = "evictions";
    let at = &facts.at;
    let Some(evicted) = facts.number("evicted_keys") else {
        return Finding::not_known(CHECK, at, "the server does not show `evicted_keys`");
    };
    let Some((keys, expiring)) = facts.keys() else {
        let what = format!("{evicted} keys evicted");
        return match evicted {
            0 => Finding::ok(CHECK, at, what),
            _ => {
                let why = format!("{what}, and the server does not show how many have an expiry");
                Finding::not_known(CHECK, at, why)
            }
        };
    };
    let forever = keys.saturating_sub(expiring);
    let what = format!("{evicted} keys evicted, {forever} of {keys} keys have no expiry");
    match evicted > 0 && forever > expiring {
        true => Finding::new(CHECK, State::Warn, at, what)
            .means("keys that are never removed take the memory, so records are evicted early")
            .mended_by("redis-cli --bigkeys")
            .advises("give the keys that are not of the cache an expiry, or a server of their own"),
        false => Finding::ok(CHECK, at, what),
    }
}
