//! The state and settings of a server, and the reasons why instances cannot use it.

use std::collections::HashMap;

use cache_redis::inspect::{InspectedShard, Node};
use redis::aio::MultiplexedConnection;

use super::finding::{Finding, State};
use super::permissions;
use crate::failure::in_full;

/// The oldest version that has what the scripts use.
const OLDEST: u32 = 7;

/// The settings that are asked for.
const SETTINGS: [&str; 7] = [
    "min-replicas-to-write",
    "min-replicas-max-lag",
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
        let fields = info.lines().filter_map(|line| {
            let line = line.trim_end();
            // The heading of a section is kept: the list of databases may be empty.
            let heading = line.starts_with("# ").then_some((line, ""));
            heading.or_else(|| line.split_once(':'))
        });
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

    /// The number of keys in all databases, and how many of them have an expiry. `None` if the
    /// server does not show it.
    pub(super) fn keys(&self) -> Option<(u64, u64)> {
        self.info("# Keyspace")?;
        let is_database = |name: &str| {
            let number = name.strip_prefix("db");
            number.is_some_and(|number| number.parse::<u32>().is_ok())
        };
        let databases = self.info.iter().filter(|(name, _)| is_database(name));
        let mut keys = (0, 0);
        for (_, text) in databases {
            let field = |name: &str| {
                let mut fields = text.split(',');
                let value = fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='));
                value?.parse::<u64>().ok()
            };
            keys = (keys.0 + field("keys")?, keys.1 + field("expires")?);
        }
        Some(keys)
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
pub(super) async fn check(node: &Node, shards: &[&InspectedShard], facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![version(facts)];
    if !facts.is_usable() {
        return findings;
    }
    findings.push(role(facts));
    let is_cluster = facts.info("cluster_enabled") == Some("1");
    findings.extend(permissions::check(node, shards, is_cluster).await);
    // The check that an instance makes may refuse what no line above names.
    let has_failed = findings.iter().any(|finding| finding.state == State::Fail);
    if let (false, Some(shard)) = (has_failed, shards.first())
        && let Err(error) = node.check(shard).await
    {
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
        .advises("install Redis 7.0 or later, or Valkey"),
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
            .advises(format!("use the address of the primary: {host}:{port}"))
        }
        None => Finding::not_known("role", &facts.at, "the server does not say its role"),
    }
}
