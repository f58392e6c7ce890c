//! Finds the key that a text names, which people write without types and quotes.

use std::sync::Arc;

use cache_core::inspect::text_argument;
use cache_core::tier::{FunctionKey, Glob, RecordKey};
use cache_redis::inspect::{InspectedShard, Inspection, Place};

use crate::audit;
use crate::failure::Failure;
use crate::scan::{STEP, Scan, Walk};

/// The largest number of steps of a search through the keys of a shard.
const MOST_STEPS: usize = 400;

/// The number of entries of the audit that are searched in each shard.
const ENTRIES: usize = 1_000;

/// The types that are written behind integers. One without a type is a `u64`.
const SIGNED: [&str; 5] = ["i8", "i16", "i32", "i64", "i128"];
const UNSIGNED: [&str; 4] = ["u8", "u16", "u32", "u128"];
const FLOATS: [&str; 2] = ["f32", "f64"];

/// Result of a search.
#[derive(Debug)]
pub(crate) enum Found<'a> {
    /// The key has a record, a lease or guards in this shard.
    One(&'a InspectedShard, RecordKey),
    /// The arguments of several keys that the text may mean.
    Several(Vec<String>),
    Nothing,
    /// Nothing was found among so many keys of a shard, and the search ended there.
    Unfinished(usize),
}

/// Finds the key that a text names: as it is written, with the type of an integer, as a text in
/// quotes, or, for a list, with the types of its numbers.
pub(crate) async fn find<'a>(
    inspection: &'a Inspection,
    function: &Arc<FunctionKey>,
    text: &str,
) -> Result<Found<'a>, Failure> {
    let mut found = Vec::new();
    for shard in inspection.shards() {
        for key in present(shard, function, &spellings(text)).await? {
            // Exactly what was written is meant, whatever else there is.
            if key.arguments == text {
                return Ok(Found::One(shard, key));
            }
            found.push((shard, key));
        }
    }
    // The spellings of an integer are all that there are.
    let may_have_types = !is_integer(text) && has_untyped_number(text);
    if found.is_empty() && may_have_types {
        return scan(inspection, function, text).await;
    }
    Ok(one(found))
}

/// The ways in which a text may be written in the name of a key.
fn spellings(text: &str) -> Vec<String> {
    let mut all = vec![text.to_owned()];
    if is_integer(text) {
        let unsigned = UNSIGNED.iter().filter(|_| !text.starts_with('-'));
        let types = SIGNED.iter().chain(unsigned);
        all.extend(types.map(|of| format!("{text}{of}")));
    }
    // The shell removes the quotes of what was copied from `keys`.
    for quoted in [format!("'{text}'"), text_argument(text)] {
        if !all.contains(&quoted) {
            all.push(quoted);
        }
    }
    all
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// Returns `true` if a text has a number without a type, so that a key may have it with one.
fn has_untyped_number(text: &str) -> bool {
    let is_of_word = |c: char| c.is_alphanumeric() || "_.@%'".contains(c);
    let mut words = text.split(|c: char| !is_of_word(c));
    words.any(|word| {
        let is_number = word.starts_with(|c: char| c.is_ascii_digit());
        let mut types = SIGNED.iter().chain(&UNSIGNED).chain(&FLOATS);
        is_number && !types.any(|of| word.ends_with(of))
    })
}

/// Returns the keys that have a record, a lease or guards in a shard.
async fn present(
    shard: &InspectedShard,
    function: &Arc<FunctionKey>,
    spellings: &[String],
) -> Result<Vec<RecordKey>, Failure> {
    let key = |arguments: &String| RecordKey::new(Arc::clone(function), arguments.clone(), 0);
    let keys: Vec<RecordKey> = spellings.iter().map(key).collect();
    let mut pipeline = redis::pipe();
    for key in &keys {
        pipeline.cmd("EXISTS").arg(&shard.names_of(key));
    }
    let found: Vec<u64> = pipeline.query_async(&mut shard.connection()).await?;
    let found = keys.into_iter().zip(found).filter(|(_, keys)| *keys > 0);
    Ok(found.map(|(key, _)| key).collect())
}

/// Looks through the keys of a function for those that are this text, apart from the types of
/// numbers.
async fn scan<'a>(
    inspection: &'a Inspection,
    function: &Arc<FunctionKey>,
    text: &str,
) -> Result<Found<'a>, Failure> {
    let glob = exactly(text)?;
    let mut found: Vec<(&InspectedShard, RecordKey)> = Vec::new();
    let mut is_finished = true;
    for shard in inspection.shards() {
        let mut scan = Scan::new(shard, shard.pattern_of(function));
        let mut steps = 0;
        while let Some(names) = scan.next().await? {
            let keys = names.iter().filter_map(|name| shard.key_named(name));
            let keys = keys.filter(|of| {
                matches!(of.place, Place::Record | Place::Lease | Place::Guards)
                    && glob.matches(&of.arguments)
            });
            for of in keys {
                let is_known = found.iter().any(|(_, key)| key.arguments == of.arguments);
                if !is_known {
                    found.push((shard, RecordKey::new(Arc::clone(function), of.arguments, 0)));
                }
            }
            steps += 1;
            if steps == MOST_STEPS {
                is_finished = false;
                break;
            }
        }
    }
    Ok(match is_finished || !found.is_empty() {
        true => one(found),
        false => Found::Unfinished(MOST_STEPS * STEP),
    })
}

fn one(mut found: Vec<(&InspectedShard, RecordKey)>) -> Found<'_> {
    match found.len() {
        0 => Found::Nothing,
        1 => found
            .pop()
            .map_or(Found::Nothing, |(shard, key)| Found::One(shard, key)),
        _ => Found::Several(found.into_iter().map(|(_, key)| key.arguments).collect()),
    }
}

/// The functions of the records and epochs that a search found.
#[derive(Debug)]
pub(crate) struct FoundFunctions {
    /// Each once, in the order of their versions.
    pub(crate) functions: Vec<Arc<FunctionKey>>,
    /// The number of keys that were looked at, if the search ended before all were.
    pub(crate) looked_at: Option<usize>,
}

/// Looks through the keys of all servers for those of functions that are meant. Of a function whose
/// epoch was evicted, or which no instance publishes, nothing else may be there.
pub(crate) async fn functions(
    inspection: &Inspection,
    is_meant: impl Fn(&FunctionKey) -> bool,
) -> Result<FoundFunctions, Failure> {
    let mut functions: Vec<Arc<FunctionKey>> = Vec::new();
    let mut looked_at = None;
    for mut walk in Walk::of_nodes(inspection) {
        let mut steps = 0;
        while !walk.is_finished() {
            if steps == MOST_STEPS {
                looked_at = Some(MOST_STEPS * STEP);
                break;
            }
            steps += 1;
            let found = walk.next().await?;
            for (shard, names) in walk.shards().iter().zip(found) {
                let keys = names.iter().filter_map(|name| shard.key_named(name));
                let keys = keys.filter(|of| matches!(of.place, Place::Record | Place::Epoch));
                let meant = keys.filter_map(|of| of.function.filter(|of| is_meant(of)));
                functions.extend(meant);
                functions.sort_by_key(|of| of.version);
                functions.dedup_by_key(|of| of.version);
            }
        }
    }
    Ok(FoundFunctions {
        functions,
        looked_at,
    })
}

/// Returns the key that an entry of the audit names, if it is this key apart from types and quotes.
/// Nothing else is left of a key that was invalidated and is not loaded.
pub(crate) async fn in_audit(inspection: &Inspection, key: &RecordKey) -> Option<RecordKey> {
    let prefix = format!("{}:", key.function.versioned());
    let glob = exactly(&key.arguments).ok()?;
    let spellings = spellings(&key.arguments);
    for shard in inspection.shards() {
        let stream = shard.controls().audit;
        let entries = audit::last(&mut shard.connection(), &stream, ENTRIES).await;
        for entry in entries.unwrap_or_default() {
            let arguments = audit::subject(&entry.what).strip_prefix(&prefix);
            let Some(arguments) = arguments.map(str::to_owned) else {
                continue;
            };
            if spellings.contains(&arguments) || glob.matches(&arguments) {
                return Some(RecordKey::new(Arc::clone(&key.function), arguments, 0));
            }
        }
    }
    None
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
    fn pattern_of_arguments_matches_nothing_else() {
        let glob = exactly("a*[b]?\\").unwrap();
        assert!(glob.matches("a*[b]?\\"));
        assert!(!glob.matches("axb?\\") && !glob.matches("a*b?\\"));
        assert!(exactly("42").unwrap().matches("42i32"), "without its type");
    }

    #[test]
    fn text_that_is_written_as_in_keys_has_no_number_without_a_type() {
        for text in [
            "7i32,'42'",
            "'a7'",
            "a7",
            "1.5f64",
            "[1u8,2u8]",
            "'a%207'",
            "",
        ] {
            assert!(!has_untyped_number(text), "{text}");
        }
        for text in ["7,ann", "7i32,8", "[1u8,2]", "(-3)", "1.5"] {
            assert!(has_untyped_number(text), "{text}");
        }
    }

    #[test]
    fn integer_may_have_a_type_and_text_may_have_quotes() {
        assert_eq!(spellings("7").len(), 11, "{:?}", spellings("7"));
        for (text, spelling) in [
            ("7", "7i32"),
            ("-7", "-7i64"),
            ("42", "'42'"),
            ("a b", "'a%20b'"),
            ("a%20b", "'a%20b'"),
            ("a", "a"),
        ] {
            assert!(spellings(text).contains(&spelling.to_owned()), "{text}");
        }
        assert!(!spellings("-7").contains(&"-7u8".to_owned()));
    }
}
