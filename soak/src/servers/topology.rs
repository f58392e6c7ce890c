//! Number and roles of the servers of a run.

/// Number and roles of the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topology {
    /// One server, which is restarted at times.
    Standalone,
    /// A primary and a replica, which is promoted at times.
    Failover,
    /// One server with little memory, which other users fill. It evicts the least recently used
    /// keys.
    Evicting,
    /// Three primaries with a replica each. They replace each other, and slots migrate.
    Cluster,
    /// A primary with two replicas, behind three sentinels.
    Sentinel,
}

impl Topology {
    /// Returns the topology of this name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Some(match name {
            "standalone" => Self::Standalone,
            "failover" => Self::Failover,
            "evicting" => Self::Evicting,
            "cluster" => Self::Cluster,
            "sentinel" => Self::Sentinel,
            _ => return None,
        })
    }

    /// Returns `maxmemory` and `maxmemory-policy` of the servers.
    #[must_use]
    pub fn memory(self) -> [&'static str; 2] {
        match self {
            Self::Evicting => ["4mb", "allkeys-lru"],
            Self::Standalone | Self::Failover | Self::Cluster | Self::Sentinel => {
                ["0", "noeviction"]
            }
        }
    }
}
