//! Settings with which an instance is started.

use std::path::PathBuf;
use std::time::Duration;

use crate::address::Address;
use crate::history::Life;

/// Command for work of which one load in a hundred fails.
///
/// It is not used without faults: callers that waited for a load that failed load themselves, which
/// would look like a second load of a valid key.
pub const WORK_AND_FAIL: &str = "work 10";

/// Namespace of all instances.
pub const NAMESPACE: &str = "soak";

/// Staleness bound of all instances.
pub const BOUND: Duration = Duration::from_millis(500);

/// Mean time between two changes of an instance.
pub const PAUSE: Duration = Duration::from_millis(60);

/// Mean time between two changes of an instance in a run with few changes.
pub const LONG_PAUSE: Duration = Duration::from_secs(8);

/// Settings with which an instance is started.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where this instance finds Redis.
    pub address: Address,
    /// Path of the socket of the database.
    pub database: PathBuf,
    /// File into which the instance writes its events.
    pub history: PathBuf,
    /// Number of the instance and of its life.
    pub life: Life,
    /// Seed of everything that the instance does at random.
    pub seed: u64,
    /// Mean time between two changes of the instance.
    pub pause: Duration,
}

impl Settings {
    /// Returns the settings as arguments of a process.
    #[must_use]
    pub fn to_arguments(&self) -> Vec<String> {
        vec![
            self.address.to_string(),
            self.database.display().to_string(),
            self.history.display().to_string(),
            self.life.instance.to_string(),
            self.life.number.to_string(),
            self.seed.to_string(),
            self.pause.as_millis().to_string(),
        ]
    }

    /// Parses the arguments of a process. Returns `None` if they are no settings.
    #[must_use]
    pub fn from_arguments(arguments: &[String]) -> Option<Self> {
        let [address, database, history, instance, number, seed, pause] = arguments else {
            return None;
        };
        Some(Self {
            address: Address::parse(address)?,
            database: database.into(),
            history: history.into(),
            life: Life {
                instance: instance.parse().ok()?,
                number: number.parse().ok()?,
            },
            seed: seed.parse().ok()?,
            pause: Duration::from_millis(pause.parse().ok()?),
        })
    }
}
