//! The state that an instance publishes: its functions and itself.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::level::Level;
use crate::runtime::report::Snapshot;

/// Names of what is published. In Redis each is preceded by `{namespace:0}:`.
pub mod keys {
    /// A hash: `name:version` of a function to a
    /// [`PublishedFunction`](super::PublishedFunction).
    pub const FUNCTIONS: &str = "#functions";

    /// A hash: the [fingerprint](fingerprint) of a value type to its
    /// [`Layout`](crate::inspect::Layout).
    pub const SHAPES: &str = "#shapes";

    /// Precedes the id of an instance. A text: a
    /// [`PublishedInstance`](super::PublishedInstance).
    pub const INSTANCE: &str = "#instance:";

    /// A sorted set: ids of instances, by the time in milliseconds at which each last published, of
    /// the clock of the store.
    pub const INSTANCES: &str = "#instances";

    /// Returns the field of [`SHAPES`] for a fingerprint: 16 hexadecimal digits.
    #[must_use]
    pub fn fingerprint(fingerprint: u64) -> String {
        format!("{fingerprint:016x}")
    }

    /// Returns the field of [`FUNCTIONS`] for a function.
    #[must_use]
    pub fn function(name: &str, version: u32) -> String {
        format!("{name}:{version}")
    }

    /// Splits a field of [`FUNCTIONS`] into the name and the version of its function.
    #[must_use]
    pub fn split_function(field: &str) -> Option<(&str, u32)> {
        let (name, version) = field.rsplit_once(':')?;
        Some((name, version.parse().ok()?))
    }

    /// Returns the key of an instance, without the prefix of the namespace.
    #[must_use]
    pub fn instance(id: &str) -> String {
        format!("{INSTANCE}{id}")
    }
}

/// A function, as an instance that has it in its program published it. If instances differ in its
/// settings, the last one that published counts;
/// [`function_settings`](PublishedInstance::function_settings) has those of each instance.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedFunction {
    /// Name of the function. For an instance of a generic function it ends with the types.
    pub name: String,
    /// Version of the values.
    pub version: u32,
    /// Tiers that the function uses, in look-up order.
    #[serde(default)]
    pub tiers: Vec<PublishedTier>,
    /// Name of the codec that writes records.
    #[serde(default)]
    pub codec: String,
    /// Times besides the ttl, by the names of their options, as overrides write them: `30s`, or
    /// `10%`. `measured` is a `refresh_ahead` without a time.
    #[serde(default)]
    pub times: BTreeMap<String, String>,
    /// Fingerprint of the value type, which its records carry. `None` until the instance wrote or
    /// read a record of the function.
    #[serde(default)]
    pub fingerprint: Option<u64>,
    /// Form of the arguments in keys, as the attribute has it: `{user}:{page}`. Empty if keys have
    /// all arguments, separated by commas.
    #[serde(default)]
    pub template: String,
    /// Names of the arguments that are part of the key, in their order. Empty if they are not
    /// known.
    #[serde(default)]
    pub arguments: Vec<String>,
    /// `true` if values of the function have tags or may be stale, so that its records have marks.
    #[serde(default)]
    pub is_marked: bool,
    /// File of the function.
    #[serde(default)]
    pub file: String,
    /// Line of the function.
    #[serde(default)]
    pub line: u32,
    /// Origins of the settings that operators made in place of those in the code.
    #[serde(default)]
    pub overridden_by: Vec<String>,
    /// Why the function does not use the tiers that its code names, if it does not.
    #[serde(default)]
    pub problem: Option<String>,
}

/// A tier that a function uses.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedTier {
    /// Level of the tier.
    pub level: Level,
    /// Time to live of the values that are loaded there: the ttl of the function times the
    /// [scale](crate::TierConfig::ttl_scale) of the tier.
    #[serde(default)]
    pub ttl: Duration,
}

/// An instance. It publishes itself every [`period`](Self::period), and what it published ends by
/// itself after three periods.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct PublishedInstance {
    /// Identifies the instance among those that publish: the name and the number.
    pub id: String,
    /// Name that the program gave the instance. Several instances may have the same.
    pub name: String,
    /// Number of the instance, which the tokens of its leases
    /// [carry](crate::inspect::owner_of_token). It is random, from 1 to 1,048,575, so another
    /// instance most likely has another number.
    pub number: u32,
    /// Version of the cache.
    #[serde(default)]
    pub version: String,
    /// Number of the operating system's process.
    #[serde(default)]
    pub process: u32,
    /// When the instance began to publish, in milliseconds since the Unix epoch by the clock of the
    /// store.
    #[serde(default)]
    pub began: u64,
    /// When this was made, by the same clock.
    #[serde(default)]
    pub published: u64,
    /// Time between two publications.
    #[serde(default)]
    pub period: Duration,
    /// Settings of the tier that must agree among instances.
    #[serde(default)]
    pub settings: InstanceSettings,
    /// State of the runtime. Its counters began with the runtime, so that the difference of two
    /// publications is what happened between them, also if some in between were not read. Numbers
    /// that are zero are left out, and read as zero. The tiers were not pinged. The reasons in
    /// [`unusable`](crate::tier::Health::unusable) that all shards of a tier have are those of the
    /// tier alone, and the shards are left out if the tiers take more than half of the space.
    pub snapshot: Snapshot,
    /// Number of functions that the snapshot leaves out, because it would be too large: those with
    /// the fewest calls.
    #[serde(default)]
    pub functions_left_out: usize,
    /// Settings that the functions of the program have in this instance: each once, with all
    /// functions that have them. `None` for a version that does not publish them.
    #[serde(default)]
    pub function_settings: Option<Vec<PublishedSettings>>,
    /// Number of functions whose settings were left out, because the state would be too large:
    /// those with the fewest calls.
    #[serde(default)]
    pub settings_left_out: usize,
}

/// Settings of functions in one instance.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct PublishedSettings {
    /// Functions that have these settings, as [`keys::function`] names them.
    pub functions: Vec<String>,
    /// Tiers that the functions use, in look-up order.
    pub tiers: Vec<PublishedTier>,
    /// Name of the codec that writes records.
    pub codec: String,
    /// Times besides the ttl, as in [`PublishedFunction::times`].
    pub times: BTreeMap<String, String>,
    /// Origins of the settings that operators made in place of those in the code.
    pub overridden_by: Vec<String>,
}

/// Settings of a tier that must be the same for all instances of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
#[non_exhaustive]
pub struct InstanceSettings {
    /// The longest time for which the instance may answer with a value after another instance
    /// invalidated it.
    pub staleness_bound: Duration,
    /// Time until the lease of an instance that no longer responds expires.
    pub lease_time: Duration,
    /// Size in bytes of the largest record.
    pub max_record_bytes: usize,
    /// Number of shards.
    pub shards: u8,
}
