//! Where an instance finds Redis.

use std::fmt;

use multi_tier_cached::Redis;
use testbed::sentinel::PRIMARY;

/// Number of shards of the namespace on a cluster.
pub const SHARDS: u8 = 8;

/// Where an instance finds Redis.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// URL of one server.
    Server(String),
    /// URLs of nodes of a cluster.
    Cluster(Vec<String>),
    /// Addresses of sentinels.
    Sentinels(Vec<String>),
}

impl Address {
    /// Returns the tier that finds Redis there.
    #[must_use]
    pub fn redis(&self) -> Redis {
        match self {
            Self::Server(url) => Redis::new(url),
            Self::Cluster(urls) => Redis::cluster(urls).shards(SHARDS),
            Self::Sentinels(addresses) => Redis::sentinel(addresses, PRIMARY),
        }
    }

    /// Parses what [`Display`](fmt::Display) writes.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (kind, addresses) = text.split_once(',')?;
        let all = || addresses.split(',').map(ToOwned::to_owned).collect();
        Some(match kind {
            "server" => Self::Server(addresses.to_owned()),
            "cluster" => Self::Cluster(all()),
            "sentinels" => Self::Sentinels(all()),
            _ => return None,
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Server(url) => write!(f, "server,{url}"),
            Self::Cluster(urls) => write!(f, "cluster,{}", urls.join(",")),
            Self::Sentinels(addresses) => write!(f, "sentinels,{}", addresses.join(",")),
        }
    }
}
