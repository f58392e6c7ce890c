//! Finds the function and the record that the arguments name.

use std::sync::Arc;

use cache_core::tier::{FunctionKey, RecordKey};
use cache_redis::inspect::{InspectedShard, Inspection, Place};

use crate::args::Target;
use crate::failure::Failure;
use crate::published;
use crate::search::{self, Found};

/// The versions that are looked for if no instance publishes its functions.
const VERSIONS: std::ops::Range<u32> = 0..64;

/// A key, and the shard that has its record.
#[derive(Debug)]
pub(crate) struct Located<'a> {
    /// `None` if no shard has a record, a lease or guards of the key: its shard follows from the
    /// digest of the arguments, which their text does not tell.
    pub(crate) shard: Option<&'a InspectedShard>,
    pub(crate) key: RecordKey,
    /// The number of keys that were looked at, if the search ended before all were.
    pub(crate) looked_at: Option<usize>,
}

impl Located<'_> {
    /// Refuses a search that ended early: "there is no record" would not be known.
    pub(crate) fn complete(self) -> Result<Self, Failure> {
        match self.unfinished() {
            None => Ok(self),
            Some((problem, help)) => Err(Failure::not_found(problem, help)),
        }
    }

    /// Returns what is not known after a search that ended early, and what helps.
    pub(crate) fn unfinished(&self) -> Option<(String, &'static str)> {
        let looked_at = self.looked_at?;
        let problem = format!(
            "no key like `{}` was found among the first {looked_at} keys of the server, and the \
             search ended there",
            self.key.name()
        );
        let help = "write the types of numbers, such as `7i32`, as `keys` lists them";
        Some((problem, help))
    }
}

/// Returns the function that a text names: `users::get`, or `users::get:2` with its version. A name
/// with its version need not be known.
pub(crate) async fn function(
    inspection: &Inspection,
    text: &str,
) -> Result<Arc<FunctionKey>, Failure> {
    match known_function(inspection, text).await? {
        Some(function) => Ok(function),
        None => match split_version(text) {
            (name, Some(version)) => Ok(Arc::new(match is_escaped(name) {
                true => FunctionKey::found(name.to_owned(), version),
                false => FunctionKey::new(name, version),
            })),
            (_, None) => stored(inspection, text).await,
        },
    }
}

/// Returns the function that a text names, of which an instance has stored or published something.
pub(crate) async fn existing_function(
    inspection: &Inspection,
    text: &str,
) -> Result<Arc<FunctionKey>, Failure> {
    match known_function(inspection, text).await? {
        Some(function) => Ok(function),
        None => stored(inspection, text).await,
    }
}

/// Returns the function that a text names, of which a record is stored.
async fn stored(inspection: &Inspection, text: &str) -> Result<Arc<FunctionKey>, Failure> {
    let (name, version) = split_version(text);
    let names = [FunctionKey::new(name, 0).name, name.to_owned()];
    let is_meant = |of: &FunctionKey| {
        names.contains(&of.name) && version.is_none_or(|version| version == of.version)
    };
    let found = search::functions(inspection, is_meant).await?;
    if let Some(function) = one_of(name, found.functions)? {
        return Ok(function);
    }
    let namespace = inspection.namespace();
    let problem = match found.looked_at {
        None => {
            format!("nothing of the function `{text}` is stored in the namespace `{namespace}`")
        }
        Some(looked_at) => format!(
            "nothing of the function `{text}` was found in the namespace `{namespace}`, among the \
             first {looked_at} keys of the server"
        ),
    };
    Err(Failure::not_found(
        problem,
        "`multi-tier-cached keys` lists the functions; the name is that in keys and metrics",
    ))
}

async fn known_function(
    inspection: &Inspection,
    text: &str,
) -> Result<Option<Arc<FunctionKey>>, Failure> {
    let (name, version) = split_version(text);
    // Names are listed escaped, so this is the more likely meaning.
    let mut known = match is_escaped(name) {
        true => {
            known(inspection, version, |version| {
                FunctionKey::found(name.to_owned(), version)
            })
            .await?
        }
        false => Vec::new(),
    };
    if known.is_empty() {
        known = self::known(inspection, version, |version| {
            FunctionKey::new(name, version)
        })
        .await?;
    }
    one_of(name, known.into_iter().map(Arc::new).collect())
}

/// Returns the only function of these; `None` if there is none.
fn one_of(
    name: &str,
    mut known: Vec<Arc<FunctionKey>>,
) -> Result<Option<Arc<FunctionKey>>, Failure> {
    let [first, _, ..] = &known[..] else {
        return Ok(known.pop());
    };
    let list: Vec<String> = known.iter().map(|of| of.version.to_string()).collect();
    Err(Failure::usage(
        format!("`{name}` has the versions {}", list.join(", ")),
        format!("name one of them, such as `{name}:{}`", first.version),
    ))
}

/// Splits `name:version`. The name may contain `::`.
fn split_version(text: &str) -> (&str, Option<u32>) {
    let split = text.rsplit_once(':');
    let split = split.filter(|(name, _)| !name.ends_with(':') && !name.is_empty());
    let split = split.and_then(|(name, version)| Some((name, version.parse().ok()?)));
    split.map_or((text, None), |(name, version)| (name, Some(version)))
}

/// Returns `true` if a name contains an escaped character, as `keys` lists names.
fn is_escaped(name: &str) -> bool {
    let mut parts = name.split('%').skip(1);
    parts.any(|part| {
        let digits = part.as_bytes().get(..2).unwrap_or_default();
        digits.len() == 2 && digits.iter().all(u8::is_ascii_hexdigit)
    })
}

/// Returns the functions with this name that have an epoch or were published: that with `version`,
/// or those with any version.
async fn known(
    inspection: &Inspection,
    version: Option<u32>,
    of_version: impl Fn(u32) -> FunctionKey,
) -> Result<Vec<FunctionKey>, Failure> {
    let is_meant = |of: u32| version.is_none_or(|version| version == of);
    let mut known: Vec<FunctionKey> = published::functions(inspection)
        .await
        .into_iter()
        .filter(|of| is_meant(of.version))
        .map(|of| FunctionKey::new(&of.name, of.version))
        .filter(|of| *of.name == of_version(of.version).name)
        .collect();
    let versions = match version {
        Some(version) => vec![version],
        None => VERSIONS.collect(),
    };
    for shard in inspection.shards() {
        let mut pipeline = redis::pipe();
        for version in &versions {
            let epoch = shard.epoch_name(&of_version(*version));
            pipeline.cmd("EXISTS").arg(epoch);
        }
        let found: Vec<bool> = pipeline.query_async(&mut shard.connection()).await?;
        let found = versions.iter().zip(found).filter(|(_, exists)| *exists);
        known.extend(found.map(|(version, _)| of_version(*version)));
    }
    known.sort_by_key(|of| of.version);
    known.dedup_by_key(|of| of.version);
    Ok(known)
}

/// Finds the record that the arguments name. A function without arguments has an empty key.
pub(crate) async fn locate<'a>(
    inspection: &'a Inspection,
    target: &Target,
) -> Result<Located<'a>, Failure> {
    if target.key.is_none() && target.function.starts_with('{') {
        return named(inspection, &target.function);
    }
    let arguments = target.key.as_deref().unwrap_or_default();
    let function = function(inspection, &target.function).await?;
    let (shard, key, looked_at) = match search::find(inspection, &function, arguments).await? {
        Found::One(shard, key) => (Some(shard), Some(key), None),
        Found::Nothing => (None, None, None),
        Found::Unfinished(looked_at) => (None, None, Some(looked_at)),
        Found::Several(all) => {
            return Err(Failure::usage(
                format!(
                    "`{arguments}` may be one of several keys: {}",
                    all.join(", ")
                ),
                "write one of them, in quotes for the shell",
            ));
        }
    };
    let key = key.unwrap_or_else(|| RecordKey::new(function, arguments.to_owned(), 0));
    Ok(Located {
        shard,
        key,
        looked_at,
    })
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
            looked_at: None,
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
    fn escaped_character_in_a_name_is_recognized() {
        assert!(is_escaped("f<(u8,%20u8)>") && is_escaped("a%3Ab"));
        assert!(
            !is_escaped("f<u8>") && !is_escaped("a%") && !is_escaped("a%2") && !is_escaped("%zz")
        );
    }
}
