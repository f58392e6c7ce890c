//! Connects to the servers that the arguments and the environment name.

use std::time::Duration;

use cache_redis::Redis;
use cache_redis::inspect::{Inspection, from_variables};

use crate::args::Place;
use crate::failure::Failure;

const PREFIX: &str = "MULTI_TIER_CACHED_";

/// The variables that options set, with the names of the arguments and of the options.
const OPTIONS: [(&str, &str, &str); 5] = [
    ("REDIS_URL", "redis", "--redis"),
    ("REDIS_CLUSTER", "cluster", "--cluster"),
    ("REDIS_SENTINELS", "sentinels", "--sentinels"),
    (
        "REDIS_SENTINEL_MASTER",
        "sentinel_master",
        "--sentinel-master",
    ),
    ("REDIS_NAMESPACE", "namespace", "--namespace"),
];

/// The arguments that name servers.
const SERVERS: [&str; 3] = ["redis", "cluster", "sentinels"];

/// The time limit of an attempt to connect: a person waits for it.
const CONNECT: Duration = Duration::from_secs(3);

/// Returns the settings of the servers and of the namespace.
pub(crate) fn redis(place: &Place) -> Result<Redis, Failure> {
    let variables = variables(place, environment());
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let redis = from_variables(&variables).map_err(|error| of_setting(place, error))?;
    let redis = redis.ok_or_else(|| {
        Failure::usage(
            "no server is named",
            "use `--redis redis://host:port`, or set MULTI_TIER_CACHED_REDIS_URL as for the program",
        )
    })?;
    Ok(redis.connect_limit(CONNECT))
}

/// Connects to the servers of the namespace.
pub(crate) async fn connect(place: &Place) -> Result<Inspection, Failure> {
    let connecting = Inspection::connect(&redis(place)?).await;
    connecting.map_err(|error| Failure::from(error).help_to_connect(|| help(place)))
}

/// The variables of the environment. Those that are not UTF-8 are of other programs.
fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
}

/// The failure of a setting, which names the option if it was set by one.
fn of_setting(place: &Place, error: cache_core::Error) -> Failure {
    let setting = error.setting().unwrap_or_default().to_owned();
    let failure = Failure::from(error);
    let is_it = |(variable, _, _): &&(&str, &str, &str)| setting == format!("{PREFIX}{variable}");
    match OPTIONS.iter().find(is_it) {
        Some((_, name, option)) if place.options.contains(name) => {
            failure.naming(&format!("set by {setting}"), &format!("set by `{option}`"))
        }
        _ => failure,
    }
}

/// Names the setting to check if no server answers.
fn help(place: &Place) -> String {
    let (what, option, variable) = if place.cluster.is_some() {
        ("addresses", "--cluster", "REDIS_CLUSTER")
    } else if place.sentinels.is_some() {
        ("addresses", "--sentinels", "REDIS_SENTINELS")
    } else {
        ("address", "--redis", "REDIS_URL")
    };
    format!("check the {what} (`{option}`, or {PREFIX}{variable}), and that the server runs")
}

/// Returns the variables of the library without their prefix, with the arguments in the place of
/// those that say the same. Settings that only an instance has are left out: a tool has no journal.
fn variables(
    place: &Place,
    environment: impl Iterator<Item = (String, String)>,
) -> Vec<(String, String)> {
    let arguments = [
        ("REDIS_URL", &place.redis),
        ("REDIS_CLUSTER", &place.cluster),
        ("REDIS_SENTINELS", &place.sentinels),
        ("REDIS_SENTINEL_MASTER", &place.sentinel_master),
        ("REDIS_NAMESPACE", &place.namespace),
    ];
    let other = environment.filter_map(|(name, value)| {
        let name = name.strip_prefix(PREFIX)?.to_owned();
        let is_argument = arguments.iter().any(|(argument, _)| *argument == name);
        let is_of_an_instance = ["REDIS_JOURNAL_FILE", "REDIS_REQUIRED"].contains(&&*name);
        let is_meant = name.starts_with("REDIS_") && !is_argument && !is_of_an_instance;
        is_meant.then_some((name, value))
    });
    let mut variables: Vec<_> = other.collect();
    for (name, value) in arguments {
        variables.extend(value.clone().map(|value| (name.to_owned(), value)));
    }
    variables
}

impl Place {
    /// Returns `true` if an option names the servers, and not the environment alone.
    pub(crate) fn names_servers(&self) -> bool {
        SERVERS.iter().any(|name| self.options.contains(name))
    }
}

/// Leaves out the places that the environment names if an option names another one. Otherwise an
/// operator who has the variable of one server could not look at another kind of deployment.
pub(crate) fn prefer_options(place: &mut Place, is_option: impl Fn(&str) -> bool) {
    let names = OPTIONS.iter().map(|(_, name, _)| *name);
    place.options = names.filter(|name| is_option(name)).collect();
    let named = SERVERS.map(&is_option);
    if !named.contains(&true) {
        return;
    }
    let [redis, cluster, sentinels] = named;
    if !redis {
        place.redis = None;
    }
    if !cluster {
        place.cluster = None;
    }
    if !sentinels {
        place.sentinels = None;
        if !is_option("sentinel_master") {
            place.sentinel_master = None;
        }
    }
}
