//! The way from a runtime to the tier that publishes its state.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// A runtime whose state a tier publishes for tools. It does not keep the runtime from being
/// dropped. All texts are JSON, as [`inspect`](crate::inspect) describes it.
pub trait ObservedRuntime: fmt::Debug + Send + Sync {
    /// Returns the fields and values of [`FUNCTIONS`](crate::inspect::keys::FUNCTIONS): the
    /// functions that the runtime serves.
    fn functions(&self) -> Vec<(String, String)>;

    /// Returns the fields and values of [`SHAPES`](crate::inspect::keys::SHAPES): the layouts of
    /// the value types of which records were written or read, without the `known` fields.
    fn shapes(&self, known: &BTreeSet<String>) -> Vec<(String, String)>;

    /// Returns the text of an instance, of at most `max_bytes`. `None` if the runtime no longer
    /// exists.
    fn instance(&self, about: &AboutInstance, max_bytes: usize) -> Option<String>;
}

/// The properties of an instance that its tier knows.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "tiers make it")]
pub struct AboutInstance {
    /// Identifies the instance among those that publish.
    pub id: String,
    /// Name that the program gave the instance.
    pub name: String,
    /// Number of the instance, which the tokens of its leases carry.
    pub number: u32,
    /// When the instance began to publish, in milliseconds by the clock of the store.
    pub began: u64,
    /// The time now, by the same clock.
    pub published: u64,
    /// Time between two publications.
    pub period: Duration,
    /// Longest time for which the instance may answer with a value that another one invalidated.
    pub staleness_bound: Duration,
    /// Time until the lease of an instance that no longer responds expires.
    pub lease_time: Duration,
    /// Size in bytes of the largest record.
    pub max_record_bytes: usize,
    /// Number of shards.
    pub shards: u8,
}
