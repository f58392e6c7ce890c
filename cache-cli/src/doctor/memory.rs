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
            .mended_by("CONFIG SET maxmemory-policy allkeys-lru")
    };
    match (most, policy) {
        (0, _) => Finding::ok(CHECK, at, "`maxmemory` is not set"),
        (_, "noeviction") => {
            bad("fills are refused while the server is full, so calls run their bodies")
        }
        (_, "allkeys-random" | "volatile-random") => {
            bad("the keys that invalidation relies on are evicted, however often they are used")
        }
        (_, "volatile-ttl") => bad(
            "leases and write guards are evicted first, so several instances load a key at a time",
        ),
        _ => Finding::ok(CHECK, at, what),
    }
}

/// Checks whether records are evicted because keys without an expiry fill the memory.
fn evictions(facts: &Facts) -> Finding {
    const CHECK: &str = "evictions";
    let at = &facts.at;
    let Some(evicted) = facts.number("evicted_keys") else {
        return Finding::not_known(CHECK, at, "the server does not show `evicted_keys`");
    };
    let database = |text: &str| {
        let field = |name: &str| {
            let mut fields = text.split(',');
            fields.find_map(|field| {
                field
                    .strip_prefix(name)?
                    .strip_prefix('=')?
                    .parse::<u64>()
                    .ok()
            })
        };
        Some((field("keys")?, field("expires")?))
    };
    let databases = (0..16).filter_map(|number| database(facts.info(&format!("db{number}"))?));
    let (keys, expiring) = databases.fold((0, 0), |(keys, expiring), (of, with)| {
        (keys + of, expiring + with)
    });
    let forever = keys.saturating_sub(expiring);
    let what = format!("{evicted} keys evicted, {forever} of {keys} keys have no expiry");
    match evicted > 0 && forever > expiring {
        true => Finding::new(CHECK, State::Warn, at, what)
            .means("keys that are never removed take the memory, so records are evicted early")
            .mended_by(
                "redis-cli --bigkeys, and give these keys an expiry or a server of their own",
            ),
        false => Finding::ok(CHECK, at, what),
    }
}
