//! How a cluster is set up.

use std::time::Duration;

use crate::server::program;

/// How a cluster is set up.
#[derive(Clone, Debug)]
#[expect(clippy::exhaustive_structs, reason = "only tests use it")]
pub struct Options {
    /// Program of the nodes.
    pub binary: String,
    /// Number of primaries. Each has one replica.
    pub primaries: usize,
    /// Time without a reply after which a node is considered to be failing.
    pub node_timeout: Duration,
    /// Further arguments of each node.
    pub arguments: Vec<String>,
    /// `true` if the nodes are ended, with the test, when they run for too long.
    pub is_for_a_test: bool,
}

impl Options {
    /// Returns the options of a cluster for a test. Its nodes replace each other within about two
    /// seconds.
    pub fn new(primaries: usize) -> Self {
        Self {
            binary: program(),
            primaries,
            node_timeout: Duration::from_secs(1),
            arguments: Vec::new(),
            is_for_a_test: true,
        }
    }
}
