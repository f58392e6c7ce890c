//! The state and settings of a server, and the reasons why instances cannot use it.

use std::collections::HashMap;

use cache_redis::inspect::{InspectedShard, Node};
use redis::aio::MultiplexedConnection;

use super::finding::{Finding, State};
use crate::failure::in_full;

/// The oldest version that has what the scripts use.
const OLDEST: u32 = 7;

/// The settings that are asked for.
const SETTINGS: [&str; 6] = [
    "min-replicas-to-write",
    "client-output-buffer-limit",
    "timeout",
    "tcp-keepalive",
    "cluster-require-full-coverage",
    "maxmemory-policy",
];

/// The answers of a server.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub(super) at: String,
    /// The fields of `INFO`; empty if the server does not answer it.
    info: HashMap<String, String>,
    /// The settings; without those that the server does not show.
    settings: HashMap<String, String>,
    /// The list of clients that are subscribed, if the server shows it.
    pub(super) subscribers: Option<String>,
}

impl Facts {
    pub(super) async fn read(node: &Node) -> Self {
        let mut connection = node.connection();
        let info: String = ask(&mut connection, &["INFO"]).await.unwrap_or_default();
        let fields = info
            .lines()
            .filter_map(|line| line.trim_end().split_once(':'));
        let mut settings = HashMap::new();
        for name in SETTINGS {
            let found: Option<HashMap<String, String>> =
                ask(&mut connection, &["CONFIG", "GET", name]).await;
            settings.extend(found.into_iter().flatten());
        }
        Self {
            at: node.address(),
            info: fields
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
            settings,
            subscribers: ask(&mut connection, &["CLIENT", "LIST", "TYPE", "PUBSUB"]).await,
        }
    }

    #[cfg(test)]
    pub(super) fn of(info: &[(&str, &str)], settings: &[(&str, &str)]) -> Self {
        let map = |pairs: &[(&str, &str)]| {
            let pairs = pairs.iter();
            pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect()
        };
        Self {
            at: "server".to_owned(),
            info: map(info),
            settings: map(settings),
            subscribers: None,
        }
    }

    pub(super) fn info(&self, field: &str) -> Option<&str> {
        self.info.get(field).map(String::as_str)
    }

    pub(super) fn number(&self, field: &str) -> Option<u64> {
        self.info(field)?.parse().ok()
    }

    pub(super) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.get(name).map(String::as_str)
    }

    /// The line of a setting that the server does not show.
    pub(super) fn hidden(&self, check: &'static str, setting: &str) -> Finding {
        let why = format!("the server does not show `{setting}`");
        Finding::not_known(check, &self.at, why)
            .means("managed services often hide settings; look at the console of the service")
    }

    fn version(&self) -> Option<&str> {
        self.info("redis_version")
    }

    fn is_new_enough(&self) -> bool {
        let major = self.version().and_then(|version| version.split('.').next());
        major
            .and_then(|major| major.parse().ok())
            .is_some_and(|major: u32| major >= OLDEST)
    }

    /// Returns `true` if the rest of the checks can say something.
    pub(super) fn is_usable(&self) -> bool {
        self.is_new_enough() && self.info("loading") != Some("1")
    }
}

/// Runs a command. `None` if the server refuses it or does not answer.
pub(super) async fn ask<T: redis::FromRedisValue>(
    connection: &mut MultiplexedConnection,
    words: &[&str],
) -> Option<T> {
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(word);
    }
    command.query_async(connection).await.ok()
}

/// Checks the version, the role and the permissions.
pub(super) async fn check(node: &Node, shard: &InspectedShard, facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![version(facts)];
    if !facts.is_usable() {
        return findings;
    }
    findings.push(role(facts));
    let is_cluster = facts.info("cluster_enabled") == Some("1");
    findings.extend(permissions(node, shard, is_cluster).await);
    // The check that an instance makes may refuse what no line above names.
    let has_failed = findings.iter().any(|finding| finding.state == State::Fail);
    if let (false, Err(error)) = (has_failed, node.check(shard).await) {
        let finding = Finding::new("usable", State::Fail, &facts.at, in_full(&error));
        findings.push(finding.means("instances do not use this server"));
    }
    findings
}

fn version(facts: &Facts) -> Finding {
    let flavour = match facts.info("valkey_version") {
        Some(valkey) => format!("Valkey {valkey}"),
        None => format!(
            "Redis {}",
            facts.version().unwrap_or("of an unknown version")
        ),
    };
    if facts.version().is_none() {
        let what = "the server does not answer `INFO`, or is neither Redis nor Valkey";
        return Finding::new("version", State::Fail, &facts.at, what)
            .means("instances do not use a server that they cannot identify")
            .mended_by("ACL SETUSER <user> +info");
    }
    match facts.is_new_enough() {
        true if facts.is_usable() => Finding::ok("version", &facts.at, flavour),
        true => Finding::new(
            "version",
            State::Fail,
            &facts.at,
            format!("{flavour} is loading its data set"),
        )
        .means("instances use the server once it has read its data set"),
        false => Finding::new(
            "version",
            State::Fail,
            &facts.at,
            format!("{flavour} is too old: the minimum is {OLDEST}.0"),
        )
        .means("instances do not use this server")
        .mended_by("install Redis 7.0 or later, or Valkey"),
    }
}

fn role(facts: &Facts) -> Finding {
    match facts.info("role") {
        Some("master") => Finding::ok("role", &facts.at, "a primary"),
        Some(role) => {
            let host = facts.info("master_host").unwrap_or("?");
            let port = facts.info("master_port").unwrap_or("?");
            let role = if role == "slave" { "replica" } else { role };
            Finding::new(
                "role",
                State::Fail,
                &facts.at,
                format!("a {role} of {host}:{port}"),
            )
            .means("instances do not use a replica: it takes no writes")
            .mended_by(format!("use the address of the primary: {host}:{port}"))
        }
        None => Finding::not_known("role", &facts.at, "the server does not say its role"),
    }
}

/// Checks the permissions by the question that an instance asks when it connects.
async fn permissions(node: &Node, shard: &InspectedShard, is_cluster: bool) -> Vec<Finding> {
    let at = node.address();
    let user = node.user();
    let missing = match shard.missing_permissions(is_cluster).await {
        Ok(missing) => missing,
        Err(error) => {
            let finding = Finding::new("permissions", State::Fail, &at, in_full(&error));
            return vec![
                finding
                    .means(format!(
                        "user `{user}` may not run the scripts of the cache"
                    ))
                    .mended_by(grant(&user, &["evalsha", "script|load"], shard)),
            ];
        }
    };
    if missing.is_empty() {
        let what = format!("user `{user}` may run every command of the cache");
        return vec![Finding::ok("permissions", &at, what)];
    }
    let mut purposes: Vec<String> = missing.iter().map(ToString::to_string).collect();
    purposes.dedup();
    let line = |purpose: &String| {
        let of = missing
            .iter()
            .filter(|missing| missing.to_string() == *purpose);
        let commands: Vec<&str> = of.clone().map(|missing| missing.command).collect();
        let is_required = of.clone().any(|missing| missing.is_required());
        let is_optional = of.clone().all(|missing| missing.is_optional());
        let (state, meaning) = match (is_required, is_optional) {
            (true, _) => (State::Fail, "instances do not use this server".to_owned()),
            (false, true) => (
                State::Info,
                format!("used for, if it is permitted: {purpose}"),
            ),
            (false, false) => (State::Warn, format!("needed for: {purpose}")),
        };
        let what = format!("user `{user}` may not run {}", commands.join(", "));
        Finding::new("permissions", state, &at, what)
            .means(meaning)
            .mended_by(grant(&user, &commands, shard))
    };
    purposes.iter().map(line).collect()
}

fn grant(user: &str, commands: &[&str], shard: &InspectedShard) -> String {
    let commands: Vec<String> = commands
        .iter()
        .map(|command| format!("+{command}"))
        .collect();
    let keys = shard.pattern();
    format!("ACL SETUSER {user} {} ~{keys} &{keys}", commands.join(" "))
}
