//! Finds the function and the record that the arguments name.

use std::collections::BTreeSet;
use std::sync::Arc;

use cache_core::tier::{FunctionKey, Glob, RecordKey};
use cache_redis::inspect::{InspectedShard, Inspection, Place};

use crate::args::Target;
use crate::failure::Failure;
use crate::published;
use crate::scan::Scan;

/// The versions that are looked for if no instance publishes its functions.
const VERSIONS: std::ops::Range<u32> = 0..64;

/// The largest number of steps of a search for a key that is written with types, such as `42i32`.
const MOST_STEPS: usize = 400;

/// A key, and the shard that has its record.
#[derive(Debug)]
pub(crate) struct Located<'a> {
    /// `None` if no shard has a record of the key: its shard follows from the digest of the
    /// arguments, which their text does not tell.
    pub(crate) shard: Option<&'a InspectedShard>,
    pub(crate) key: RecordKey,
}

/// Returns the function that a text names: `users::get`, or `users::get:2` with its version.
pub(crate) async fn function(
    inspection: &Inspection,
    text: &str,
) -> Result<Arc<FunctionKey>, Failure> {
    let (name, version) = split_version(text);
    if let Some(version) = version {
        return Ok(Arc::new(FunctionKey::new(name, version)));
    }
    let versions = versions(inspection, name).await?;
    let mut all = versions.iter();
    match (all.next(), all.next()) {
        (Some(version), None) => Ok(Arc::new(FunctionKey::new(name, *version))),
        (None, _) => Err(Failure::not_found(
            format!(
                "no instance has stored anything of the function `{name}` in the namespace `{}`",
                inspection.namespace()
            ),
            "`multi-tier-cached keys` lists the functions; the name is that in keys and metrics",
        )),
        (Some(first), Some(_)) => {
            let list: Vec<String> = versions.iter().map(ToString::to_string).collect();
            Err(Failure::usage(
                format!("`{name}` has the versions {}", list.join(", ")),
                format!("name one of them, such as `{name}:{first}`"),
            ))
        }
    }
}

/// Splits `name:version`. The name may contain `::`.
fn split_version(text: &str) -> (&str, Option<u32>) {
    let split = text.rsplit_once(':');
    let split = split.filter(|(name, _)| !name.ends_with(':') && !name.is_empty());
    let split = split.and_then(|(name, version)| Some((name, version.parse().ok()?)));
    split.map_or((text, None), |(name, version)| (name, Some(version)))
}

async fn versions(inspection: &Inspection, name: &str) -> Result<BTreeSet<u32>, Failure> {
    let published = published::functions(inspection).await.into_iter();
    let published = published.filter(|function| function.name == name);
    let mut versions: BTreeSet<u32> = published.map(|function| function.version).collect();
    for shard in inspection.shards() {
        let mut pipeline = redis::pipe();
        for version in VERSIONS {
            let epoch = shard.epoch_name(&FunctionKey::new(name, version));
            pipeline.cmd("EXISTS").arg(epoch);
        }
        let found: Vec<bool> = pipeline.query_async(&mut shard.connection()).await?;
        let found = VERSIONS.zip(found).filter(|(_, exists)| *exists);
        versions.extend(found.map(|(version, _)| version));
    }
    Ok(versions)
}

/// Finds the record that the arguments name.
pub(crate) async fn locate<'a>(
    inspection: &'a Inspection,
    target: &Target,
) -> Result<Located<'a>, Failure> {
    let Some(arguments) = &target.key else {
        return named(inspection, &target.function);
    };
    let function = function(inspection, &target.function).await?;
    let key = RecordKey::new(Arc::clone(&function), arguments.clone(), 0);
    if let Some(shard) = holder(inspection, &key).await? {
        return Ok(Located {
            shard: Some(shard),
            key,
        });
    }
    // The name of a key has the types of its numbers, which people leave out.
    match similar(inspection, &function, arguments).await? {
        Some((shard, key)) => Ok(Located {
            shard: Some(shard),
            key,
        }),
        None => Ok(Located { shard: None, key }),
    }
}

/// Reads a full key of Redis.
fn named<'a>(inspection: &'a Inspection, name: &str) -> Result<Located<'a>, Failure> {
    let found = inspection.key_named(name).and_then(|(shard, stored)| {
        let function = stored.function?;
        let is_of_a_record = stored.place != Place::Epoch;
        is_of_a_record.then(|| (shard, RecordKey::new(function, stored.arguments, 0)))
    });
    match found {
        Some((shard, key)) => Ok(Located {
            shard: Some(shard),
            key,
        }),
        None => Err(Failure::usage(
            format!(
                "`{name}` is no key of a record in the namespace `{}`",
                inspection.namespace()
            ),
            "give a function and its arguments, or a full key as `keys --json` lists it",
        )),
    }
}

/// Returns the shard that has the record of a key.
async fn holder<'a>(
    inspection: &'a Inspection,
    key: &RecordKey,
) -> Result<Option<&'a InspectedShard>, Failure> {
    for shard in inspection.shards() {
        let mut exists = redis::cmd("EXISTS");
        exists.arg(shard.record_name(key));
        if exists.query_async(&mut shard.connection()).await? {
            return Ok(Some(shard));
        }
    }
    Ok(None)
}

/// Returns the only record whose arguments are these, apart from the types of numbers.
async fn similar<'a>(
    inspection: &'a Inspection,
    function: &Arc<FunctionKey>,
    arguments: &str,
) -> Result<Option<(&'a InspectedShard, RecordKey)>, Failure> {
    let glob = exactly(arguments)?;
    let mut found = None;
    for shard in inspection.shards() {
        let mut scan = Scan::new(shard, shard.pattern_of(function));
        for _ in 0..MOST_STEPS {
            let Some(names) = scan.next().await? else {
                break;
            };
            let records = names.iter().filter_map(|name| shard.key_named(name));
            let records = records.filter(|stored| stored.place == Place::Record);
            for stored in records.filter(|stored| glob.matches(&stored.arguments)) {
                let key = RecordKey::new(Arc::clone(function), stored.arguments, 0);
                let is_other = |(_, other): &(_, RecordKey)| other.arguments != key.arguments;
                if found.as_ref().is_some_and(is_other) {
                    return Ok(None);
                }
                found = Some((shard, key));
            }
        }
    }
    Ok(found)
}

/// Returns the pattern that matches these arguments alone.
pub(crate) fn exactly(arguments: &str) -> Result<Glob, Failure> {
    let mut pattern = String::with_capacity(arguments.len());
    for c in arguments.chars() {
        if "*?[]\\".contains(c) {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    Ok(Glob::new(&pattern)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_follows_the_last_single_colon() {
        assert_eq!(split_version("users::get"), ("users::get", None));
        assert_eq!(split_version("users::get:2"), ("users::get", Some(2)));
        assert_eq!(split_version("get:2"), ("get", Some(2)));
        assert_eq!(split_version("a::2"), ("a::2", None));
        assert_eq!(split_version("f<a:b>"), ("f<a:b>", None));
    }

    #[test]
    fn pattern_of_arguments_matches_nothing_else() {
        let glob = exactly("a*[b]?\\").unwrap();
        assert!(glob.matches("a*[b]?\\"));
        assert!(!glob.matches("axb?\\") && !glob.matches("a*b?\\"));
        assert!(exactly("42").unwrap().matches("42i32"), "without its type");
    }
}
