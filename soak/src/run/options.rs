//! Options of a run.

use std::path::PathBuf;

use crate::servers::Topology;

/// Number of instances that run at the same time.
pub(super) const INSTANCES: usize = 4;

/// Options of a run.
#[derive(Clone, Debug)]
pub struct Options {
    /// Program of this package, which the instances run.
    pub program: PathBuf,
    /// Seconds from the start of the run to the end of the faults.
    pub seconds: u64,
    /// Number and roles of the servers.
    pub topology: Topology,
    /// Seed of everything that is random, except for its timing.
    pub seed: u64,
    /// Program of the servers.
    pub server: String,
    /// File in which the history is kept. `None` keeps it only if it has violations.
    pub history: Option<PathBuf>,
}
