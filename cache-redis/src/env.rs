//! The tier from the environment.

use cache_core::tier::TierBuilder;
use cache_core::{EnvTier, Environment, Error, ErrorKind, Level};

use crate::config::Redis;

fn build(env: &Environment) -> Result<Option<Box<dyn TierBuilder>>, Error> {
    let time_limit = env.duration("REDIS_TIME_LIMIT")?;
    let required: Option<bool> = env.parsed("REDIS_REQUIRED", "`true` or `false`")?;
    let Some(url) = env.text("REDIS_URL") else {
        let others = ["REDIS_NAMESPACE", "REDIS_TIME_LIMIT", "REDIS_REQUIRED"];
        return match others.into_iter().find(|name| env.text(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(Error::new(
                ErrorKind::Configuration,
                format!("use MULTI_TIER_CACHED_{name} without MULTI_TIER_CACHED_REDIS_URL"),
            )),
        };
    };
    let mut redis = Redis::new(url);
    if let Some(namespace) = env.text("REDIS_NAMESPACE") {
        redis = redis.namespace(namespace);
    }
    if let Some(time_limit) = time_limit {
        redis = redis.time_limit(time_limit);
    }
    if required == Some(true) {
        redis = redis.required();
    }
    Ok(Some(Box::new(redis)))
}

inventory::submit! {
    EnvTier {
        names: &["REDIS_URL", "REDIS_NAMESPACE", "REDIS_TIME_LIMIT", "REDIS_REQUIRED"],
        level: Level::L2,
        build,
    }
}
