//! Makes the tier from environment variables.

use cache_core::tier::TierBuilder;
use cache_core::{EnvTier, Environment, Error, ErrorKind, Level};

use crate::config::Redis;

/// The variables, without their prefix.
const NAMES: &[&str] = &[
    "REDIS_URL",
    "REDIS_CLUSTER",
    "REDIS_SHARDS",
    "REDIS_SENTINELS",
    "REDIS_SENTINEL_MASTER",
    "REDIS_SENTINEL_USER",
    "REDIS_SENTINEL_PASSWORD",
    "REDIS_USER",
    "REDIS_PASSWORD",
    "REDIS_DATABASE",
    "REDIS_TLS",
    "REDIS_NAMESPACE",
    "REDIS_TIME_LIMIT",
    "REDIS_STALENESS_BOUND",
    "REDIS_LEASE_TIME",
    "REDIS_JOURNAL_FILE",
    "REDIS_REQUIRED",
    "OBSERVE",
];

/// The variables of which one says where the servers are.
const PLACES: [&str; 3] = ["REDIS_URL", "REDIS_CLUSTER", "REDIS_SENTINELS"];

fn full(name: &str) -> String {
    format!("MULTI_TIER_CACHED_{name}")
}

fn configuration(problem: String) -> Error {
    Error::new(ErrorKind::Configuration, problem)
}

/// Returns the addresses in a list that is separated by commas.
fn list(text: &str) -> impl Iterator<Item = &str> {
    let addresses = text.split(',').map(str::trim);
    addresses.filter(|address| !address.is_empty())
}

/// Returns the settings of the place, and the name of its variable; `None` if no variable is set.
fn place(env: &Environment) -> Result<Option<(Redis, &'static str)>, Error> {
    let mut given = PLACES.into_iter().filter(|name| env.text(name).is_some());
    let Some(name) = given.next() else {
        return match NAMES.iter().find(|name| env.text(name).is_some()) {
            None => Ok(None),
            Some(name) => Err(configuration(format!(
                "{} is set without {}",
                full(name),
                PLACES.map(full).join(", or ")
            ))),
        };
    };
    if let Some(other) = given.next() {
        let (one, other) = (full(name), full(other));
        return Err(configuration(format!("{one} and {other} are both set"))
            .with_help("set the one that says where Redis is, and no other"));
    }
    let text = env.text(name).unwrap_or_default();
    let primary = env.text("REDIS_SENTINEL_MASTER");
    let redis = match (name, primary) {
        ("REDIS_SENTINELS", Some(primary)) => Redis::sentinel(list(text), primary),
        ("REDIS_SENTINELS", None) => {
            let (sentinels, primary) = (full(name), full("REDIS_SENTINEL_MASTER"));
            return Err(
                configuration(format!("{sentinels} is set without {primary}"))
                    .with_help("set it to the name that `sentinel monitor` has"),
            );
        }
        (_, Some(_)) => {
            let primary = full("REDIS_SENTINEL_MASTER");
            let sentinels = full("REDIS_SENTINELS");
            return Err(configuration(format!(
                "{primary} is set without {sentinels}"
            )));
        }
        ("REDIS_CLUSTER", None) => Redis::cluster(list(text)),
        _ => Redis::new(text),
    };
    Ok(Some((redis, name)))
}

/// The settings are checked after each variable, so that an error names the variable that caused
/// it.
fn checked(redis: Redis, name: &str) -> Result<Redis, Error> {
    match redis.check() {
        Ok(_) => Ok(redis),
        Err(error) => Err(Environment::setting_error(name, &error)),
    }
}

/// # Errors
/// The address of the servers is of TLS, which `REDIS_TLS` says is not to be used.
fn refuse_tls(env: &Environment) -> Result<(), Error> {
    let is_tls = |text: &str| {
        list(text).any(|url| url.starts_with("rediss:") || url.starts_with("valkeys:"))
    };
    for name in ["REDIS_URL", "REDIS_CLUSTER"] {
        if env.text(name).is_some_and(is_tls) {
            let (tls, name) = (full("REDIS_TLS"), full(name));
            return Err(configuration(format!(
                "{tls} is `false`, and the address in {name} uses TLS"
            ))
            .with_help("write `redis://` in place of `rediss://`, or leave the setting out"));
        }
    }
    Ok(())
}

/// Adds the settings of the connections. A password is set before its user, who needs it.
fn with_access(mut redis: Redis, env: &Environment) -> Result<Redis, Error> {
    type Setter = fn(Redis, &str) -> Redis;
    let texts: [(&str, Setter); 4] = [
        ("REDIS_PASSWORD", |redis, text| redis.password(text)),
        ("REDIS_USER", |redis, text| redis.user(text)),
        ("REDIS_SENTINEL_PASSWORD", |redis, text| {
            redis.sentinel_password(text)
        }),
        ("REDIS_SENTINEL_USER", |redis, text| {
            redis.sentinel_user(text)
        }),
    ];
    for (name, set) in texts {
        if let Some(text) = env.text(name) {
            redis = checked(set(redis, text), name)?;
        }
    }
    if let Some(database) = env.parsed("REDIS_DATABASE", "the number of a database")? {
        redis = checked(redis.database(database), "REDIS_DATABASE")?;
    }
    match env.parsed("REDIS_TLS", "`true` or `false`")? {
        Some(true) => redis = checked(redis.tls(), "REDIS_TLS")?,
        Some(false) => refuse_tls(env)?,
        None => {}
    }
    if let Some(shards) = env.parsed::<u32>("REDIS_SHARDS", "a number of shards")? {
        let shards = u8::try_from(shards).map_err(|_| {
            let name = full("REDIS_SHARDS");
            configuration(format!("{name} is `{shards}`, not a number of shards"))
                .with_help("use 1, 2, 4, 8, 16, 32 or 64")
        })?;
        redis = checked(redis.shards(shards), "REDIS_SHARDS")?;
    }
    Ok(redis)
}

/// Has the tier publish what tools show, under a name.
#[cfg(feature = "inspect")]
fn observed(redis: Redis, name: &str) -> Result<Redis, Error> {
    checked(redis.observe(name), "OBSERVE")
}

/// # Errors
/// The feature for it is off.
#[cfg(not(feature = "inspect"))]
fn observed(_: Redis, _: &str) -> Result<Redis, Error> {
    let problem = format!(
        "{} needs the feature `inspect`, which is off",
        full("OBSERVE")
    );
    Err(configuration(problem))
}

fn build(env: &Environment) -> Result<Option<Box<dyn TierBuilder>>, Error> {
    let redis = redis(env)?;
    Ok(redis.map(|redis| -> Box<dyn TierBuilder> { Box::new(redis) }))
}

/// Returns the tier that the variables ask for.
pub(crate) fn redis(env: &Environment) -> Result<Option<Redis>, Error> {
    let time_limit = env.duration("REDIS_TIME_LIMIT")?;
    let required: Option<bool> = env.parsed("REDIS_REQUIRED", "`true` or `false`")?;
    let Some((redis, name)) = place(env)? else {
        return Ok(None);
    };
    let mut redis = with_access(checked(redis, name)?, env)?;
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
    if let Some(name) = env.text("OBSERVE") {
        redis = observed(redis, name)?;
    }
    Ok(Some(redis))
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

    #[test]
    fn cluster_and_sentinels_are_set_by_variables_of_their_own() {
        let built = |pairs: &[(&str, &str)]| build(&Environment::of(pairs)).unwrap().unwrap();
        let cluster = built(&[("REDIS_CLUSTER", "a:1, b:2,")]);
        assert_eq!(cluster.shards(), 8);
        assert!(cluster.store().unwrap().contains("a:1, b:2"));
        let cluster = [("REDIS_CLUSTER", "a:1"), ("REDIS_SHARDS", "16")];
        assert_eq!(built(&cluster).shards(), 16);
        let sentinels = built(&[
            ("REDIS_SENTINELS", "a:1,b:2"),
            ("REDIS_SENTINEL_MASTER", "main"),
            ("REDIS_SENTINEL_USER", "watch"),
            ("REDIS_SENTINEL_PASSWORD", "s3cret"),
            ("REDIS_USER", "app"),
            ("REDIS_PASSWORD", "s3cret"),
            ("REDIS_DATABASE", "3"),
        ]);
        let store = sentinels.store().unwrap();
        assert!(
            store.contains("`main`") && store.contains("database 3"),
            "{store}"
        );
        assert!(!format!("{sentinels:?}").contains("s3cret"));
    }

    #[test]
    fn variables_that_do_not_fit_together_are_named_and_no_secret_is_shown() {
        let url = ("REDIS_URL", "redis://127.0.0.1:1");
        let cluster = ("REDIS_CLUSTER", "a:1");
        let sentinels = ("REDIS_SENTINELS", "a:1");
        let primary = ("REDIS_SENTINEL_MASTER", "main");
        let password = ("REDIS_PASSWORD", "s3cret");
        /// Variables, and parts of the error.
        type Case<'a> = (&'a [(&'a str, &'a str)], &'a [&'a str]);
        #[rustfmt::skip]
        let wrong: &[Case<'_>] = &[
            (&[url, cluster], &["REDIS_URL", "REDIS_CLUSTER"]),
            (&[cluster, sentinels, primary], &["REDIS_CLUSTER", "REDIS_SENTINELS"]),
            (&[sentinels], &["REDIS_SENTINELS", "REDIS_SENTINEL_MASTER"]),
            (&[url, primary], &["REDIS_SENTINEL_MASTER", "REDIS_SENTINELS"]),
            (&[password], &["REDIS_PASSWORD", "REDIS_URL", "REDIS_CLUSTER", "REDIS_SENTINELS"]),
            (&[url, ("REDIS_SHARDS", "3")], &["REDIS_SHARDS", "use 1, 2, 4"]),
            (&[url, ("REDIS_SHARDS", "0")], &["REDIS_SHARDS", "use 1, 2, 4"]),
            (&[cluster, ("REDIS_SHARDS", "128")], &["REDIS_SHARDS", "use 1, 2, 4"]),
            (&[cluster, ("REDIS_SHARDS", "256")], &["REDIS_SHARDS", "`256`", "use 1, 2, 4"]),
            #[cfg(feature = "tls")]
            (&[("REDIS_URL", "rediss://:s3cret@a:1"), ("REDIS_TLS", "false")], &["REDIS_TLS", "REDIS_URL", "rediss://"]),
            (&[sentinels, primary, ("REDIS_USER", "app"), ("REDIS_TLS", "false")], &["REDIS_USER"]),
            (&[url, ("REDIS_DATABASE", "-1")], &["REDIS_DATABASE", "`-1`"]),
            (&[url, ("REDIS_TLS", "on")], &["REDIS_TLS", "`on`"]),
            (&[url, ("REDIS_SHARDS", "many")], &["REDIS_SHARDS", "`many`"]),
            (&[sentinels, primary, ("REDIS_SHARDS", "8")], &["REDIS_SHARDS", "sentinels"]),
            (&[url, ("REDIS_USER", "app")], &["REDIS_USER", "password"]),
            (&[("REDIS_URL", "redis://:s3cret@a:1"), password], &["REDIS_PASSWORD", "address"]),
            (&[url, ("REDIS_SENTINEL_PASSWORD", "s3cret")], &["REDIS_SENTINEL_PASSWORD", "sentinels"]),
            (&[("REDIS_CLUSTER", ",")], &["REDIS_CLUSTER", "no seed"]),
            (&[("REDIS_CLUSTER", "http://:s3cret@a:1")], &["REDIS_CLUSTER", "address"]),
        ];
        for (pairs, parts) in wrong {
            let error = format!("{}", build(&Environment::of(pairs)).unwrap_err());
            for part in *parts {
                assert!(error.contains(part), "{part} is not in {error:?}");
            }
            assert!(!error.contains("s3cret"), "{error:?}");
        }
    }

    #[test]
    fn name_for_tools_is_set_by_a_variable_that_names_itself_if_it_is_wrong() {
        let url = ("REDIS_URL", "redis://127.0.0.1:1");
        let named = build(&Environment::of(&[url, ("OBSERVE", "shop-1")]));
        let too_long = "x".repeat(257);
        let wrong = match cfg!(feature = "inspect") {
            true => {
                let tier = format!("{:?}", named.unwrap());
                assert!(tier.contains("observe: Some(\"shop-1\")"), "{tier}");
                build(&Environment::of(&[url, ("OBSERVE", &too_long)]))
            }
            false => named,
        };
        let error = wrong.unwrap_err().to_string();
        assert!(error.contains("MULTI_TIER_CACHED_OBSERVE"), "{error}");
    }
}
