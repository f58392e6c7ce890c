//! Makes the tier from environment variables.

use cache_core::tier::TierBuilder;
use cache_core::{EnvTier, Environment, Error, ErrorKind, Level};

use crate::config::Redis;

/// The variables, without their prefix.
const NAMES: &[&str] = &[
    "REDIS_URL",
    "REDIS_NAMESPACE",
    "REDIS_TIME_LIMIT",
    "REDIS_STALENESS_BOUND",
    "REDIS_LEASE_TIME",
    "REDIS_JOURNAL_FILE",
    "REDIS_REQUIRED",
];

fn build(env: &Environment) -> Result<Option<Box<dyn TierBuilder>>, Error> {
    let time_limit = env.duration("REDIS_TIME_LIMIT")?;
    let required: Option<bool> = env.parsed("REDIS_REQUIRED", "`true` or `false`")?;
    let Some(url) = env.text("REDIS_URL") else {
        let mut others = NAMES.iter().filter(|name| **name != "REDIS_URL");
        return match others.find(|name| env.text(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(Error::new(
                ErrorKind::Configuration,
                format!("MULTI_TIER_CACHED_{name} is set without MULTI_TIER_CACHED_REDIS_URL"),
            )),
        };
    };
    // The settings are checked after each variable, so that an error names the variable that caused
    // it.
    let checked = |redis: Redis, name: &str| match redis.check() {
        Ok(()) => Ok(redis),
        Err(error) => Err(Environment::setting_error(name, &error)),
    };
    let mut redis = checked(Redis::new(url), "REDIS_URL")?;
    if let Some(namespace) = env.text("REDIS_NAMESPACE") {
        redis = checked(redis.namespace(namespace), "REDIS_NAMESPACE")?;
    }
    if let Some(time_limit) = time_limit {
        redis = checked(redis.time_limit(time_limit), "REDIS_TIME_LIMIT")?;
    }
    if let Some(bound) = env.duration("REDIS_STALENESS_BOUND")? {
        redis = checked(redis.staleness_bound(bound), "REDIS_STALENESS_BOUND")?;
    }
    if let Some(lease_time) = env.duration("REDIS_LEASE_TIME")? {
        redis = checked(redis.lease_time(lease_time), "REDIS_LEASE_TIME")?;
    }
    if let Some(path) = env.text("REDIS_JOURNAL_FILE") {
        redis = redis.journal_file(path);
    }
    if required == Some(true) {
        redis = redis.required();
    }
    Ok(Some(Box::new(redis)))
}

inventory::submit! {
    EnvTier {
        names: NAMES,
        level: Level::L2,
        build,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_setting_is_an_error_that_names_its_variable() {
        #[track_caller]
        fn wrong(pairs: &[(&str, &str)], variable: &str) {
            let error = build(&Environment::of(pairs)).unwrap_err().to_string();
            assert!(error.contains(variable), "{variable} is not in {error:?}");
        }
        let url = ("REDIS_URL", "redis://127.0.0.1:1");
        assert!(build(&Environment::of(&[url])).unwrap().is_some());
        assert!(build(&Environment::of(&[])).unwrap().is_none());
        wrong(
            &[("REDIS_URL", "http://127.0.0.1")],
            "MULTI_TIER_CACHED_REDIS_URL",
        );
        wrong(
            &[url, ("REDIS_NAMESPACE", "a{b}")],
            "MULTI_TIER_CACHED_REDIS_NAMESPACE",
        );
        wrong(
            &[url, ("REDIS_TIME_LIMIT", "0s")],
            "MULTI_TIER_CACHED_REDIS_TIME_LIMIT",
        );
        wrong(
            &[url, ("REDIS_TIME_LIMIT", "soon")],
            "MULTI_TIER_CACHED_REDIS_TIME_LIMIT",
        );
        wrong(
            &[url, ("REDIS_REQUIRED", "yes")],
            "MULTI_TIER_CACHED_REDIS_REQUIRED",
        );
        wrong(
            &[("REDIS_REQUIRED", "true")],
            "MULTI_TIER_CACHED_REDIS_REQUIRED",
        );
    }
}
