//! Options of a function that choose how its instances agree on values.

use std::str::FromStr;

use crate::error::Error;

/// Behavior of a function with a shared tier while this instance cannot learn of invalidations by
/// other instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum WhenIsolated {
    /// Returns entries from memory until they expire, if the shared tier is unreachable, so that a
    /// cache outage does not overload the database. The default.
    #[default]
    Serve,
    /// Runs the body, so that a value whose invalidation by another instance was acknowledged is
    /// not returned after the staleness bound, even if the shared tier is unreachable from here.
    Load,
}

impl FromStr for WhenIsolated {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "serve" => Ok(Self::Serve),
            "load" => Ok(Self::Load),
            _ => Err(Error::configuration(format!(
                "unknown value `{text}`: the values are `serve` and `load`"
            ))),
        }
    }
}

/// Callers that share one load of a key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum SingleFlight {
    /// Callers in every process: the whole cluster runs one load of a key at a time. The default.
    #[default]
    Cluster,
    /// Callers in one process: each process may run a load of the key.
    Process,
}

/// Limit on how stale a returned value may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum Consistency {
    /// A hit in memory is valid while this instance is coherent, so a value that another instance
    /// invalidated is returned for the staleness bound at most. The default.
    #[default]
    Bounded,
    /// Every call asks the shared tier, so a value is not returned once an invalidation of it was
    /// acknowledged, on any instance. Each call costs one round trip. If memory has the same
    /// record, its value is not transferred.
    Strong,
}
