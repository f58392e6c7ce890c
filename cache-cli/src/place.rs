//! Connects to the servers that the arguments and the environment name.

use std::time::Duration;

use cache_redis::Redis;
use cache_redis::inspect::{Inspection, from_variables};

use crate::args::Place;
use crate::failure::Failure;

const PREFIX: &str = "MULTI_TIER_CACHED_";

/// The time limit of an attempt to connect: a person waits for it.
const CONNECT: Duration = Duration::from_secs(3);

/// Returns the settings of the servers and of the namespace.
pub(crate) fn redis(place: &Place) -> Result<Redis, Failure> {
    let variables = variables(place, std::env::vars());
    let variables: Vec<(&str, &str)> = variables
        .iter()
        .map(|(name, value)| (&**name, &**value))
        .collect();
    let redis = from_variables(&variables)?.ok_or_else(|| {
        Failure::usage(
            "no server is named",
            "use `--redis redis://host:port`, or set MULTI_TIER_CACHED_REDIS_URL as for the program",
        )
    })?;
    Ok(redis.connect_limit(CONNECT))
}

/// Connects to the servers of the namespace.
pub(crate) async fn connect(place: &Place) -> Result<Inspection, Failure> {
    Ok(Inspection::connect(&redis(place)?).await?)
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

/// Leaves out the places that the environment names if an option names another one. Otherwise an
/// operator who has the variable of one server could not look at another kind of deployment.
pub(crate) fn prefer_options(place: &mut Place, is_option: impl Fn(&str) -> bool) {
    let named = ["redis", "cluster", "sentinels"].map(&is_option);
    if !named.contains(&true) {
        return;
    }
    place.is_option = true;
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
