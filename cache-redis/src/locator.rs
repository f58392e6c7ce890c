//! Finds the server that a shard is on, for each attempt to connect.
//!
//! | the settings name | an attempt to connect goes to |
//! | --- | --- |
//! | one address | that address, or the node of a cluster that it names |
//! | seeds of a cluster | the node that any of the seeds, or of the nodes that they have named, names |
//! | sentinels | the primary that the latest answer of the sentinels names |
//!
//! The result is a hint. The server itself is asked whether it has the key and is a primary
//! before it is used (`server`). A hint is used for one attempt, so that a wrong one costs one
//! attempt.

mod cluster;
mod sentinels;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::{lock, timed};
use redis::ConnectionInfo;
use tokio::time::Instant;

pub(crate) use self::cluster::KnownNodes;
use crate::access::{Access, configuration};
use crate::credentials::{CredentialLife, Credentials};
use crate::errors;
use crate::topology::{Topology, at};
use crate::transport::Pem;

/// The period of the questions whether the server still is the primary, each to another sentinel. A
/// primary that was replaced may live on, cut off from the sentinels and its replicas. It is
/// noticed once this instance has asked each sentinel that knows of it, so after this time for each
/// of them.
pub(crate) const CHECK: Duration = Duration::from_secs(2);

/// Finds the server for one shard.
#[derive(Debug)]
pub(crate) struct Locator {
    topology: Topology,
    access: Access,
    /// A key of the shard.
    key: String,
    /// The time limit of each search.
    limit: Duration,
    known: Arc<KnownNodes>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The node of a cluster that has the shard, as another node has named it.
    moved: Option<ConnectionInfo>,
    /// The server that was found last.
    found: Option<Found>,
    /// Advances with each search, so that each begins with another node or sentinel.
    turn: usize,
    /// The last search returned `moved`, and asked no node.
    is_following: bool,
    /// The user of the last credentials.
    user: Option<String>,
    /// The other server that most sentinels named as the primary when they were asked last,
    /// without a later failover.
    outvoted_by: Option<Found>,
    /// The server that most sentinels have named twice instead of `found`, or `found` with a larger
    /// number. The next search returns it.
    agreed: Option<Found>,
    /// The server that was left for `agreed`. A sentinel that still names it has not learned of the
    /// other one, and its larger number counts no more.
    outvoted: Option<Found>,
}

/// A server that may have the shard.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    pub(crate) info: ConnectionInfo,
    /// The number of the failover that made it the primary, as the sentinels count.
    failover: Option<u64>,
}

impl Found {
    /// Returns `true` if `other` has the same address.
    pub(crate) fn is_at(&self, other: &Self) -> bool {
        self.info.addr() == other.info.addr()
    }

    /// Returns `true` if `other` is the same server, not by a later failover.
    fn outdates(&self, other: &Self) -> bool {
        self.is_at(other) && other.failover <= self.failover
    }
}

/// Credentials with their life, if it ends.
pub(crate) type Renewable = (Credentials, Option<CredentialLife>);

/// An address with the user and the password for the next connections.
#[derive(Clone, Debug)]
pub(crate) struct Entrance {
    pub(crate) info: ConnectionInfo,
    /// `None` if the credentials do not end.
    pub(crate) life: Option<CredentialLife>,
}

impl State {
    fn next_turn(&mut self) -> usize {
        let turn = self.turn;
        self.turn = turn.wrapping_add(1);
        turn
    }
}

fn entrance(found: &Found, credentials: Option<Renewable>) -> Entrance {
    match credentials {
        Some((credentials, life)) => Entrance {
            info: credentials.of(&found.info),
            life,
        },
        None => Entrance {
            info: found.info.clone(),
            life: None,
        },
    }
}

/// Returns the server that a sentinel names, with the settings of `server`.
fn found_at(server: &ConnectionInfo, primary: &sentinels::Primary) -> Found {
    let info = at(server, Some(&primary.host), primary.port);
    Found {
        info: info.unwrap_or_else(|| server.clone()),
        failover: Some(primary.failover),
    }
}

impl Locator {
    /// `first`: the index of the seed that is asked first.
    pub(crate) fn new(
        topology: Topology,
        access: Access,
        key: String,
        limit: Duration,
        known: Arc<KnownNodes>,
        first: usize,
    ) -> Self {
        let state = State {
            turn: first,
            ..State::default()
        };
        Self {
            topology,
            access,
            key,
            limit,
            known,
            state: Mutex::new(state),
        }
    }

    /// The configured addresses, without secrets.
    pub(crate) fn configured(&self) -> String {
        self.topology.describe()
    }

    /// The address that was found last, or the configured ones.
    pub(crate) fn address(&self) -> String {
        let state = lock(&self.state);
        let found = state.moved.as_ref();
        let found = found.or_else(|| state.found.as_ref().map(|found| &found.info));
        found.map_or_else(|| self.configured(), |info| info.addr().to_string())
    }

    /// The name of the user of the connections.
    pub(crate) fn user(&self) -> String {
        let state = lock(&self.state);
        let configured = match &self.topology {
            Topology::Server(info) | Topology::Sentinels { server: info, .. } => Some(info),
            Topology::Cluster(seeds) => seeds.first(),
        };
        let configured = configured.and_then(|info| info.redis_settings().username());
        let user = state.user.as_deref().or(configured);
        user.unwrap_or("default").to_owned()
    }

    pub(crate) fn root(&self) -> Option<&Pem> {
        self.access.root_certificate.as_ref()
    }

    /// Finds the server for the next attempt to connect, and gets the credentials for it.
    ///
    /// # Errors
    /// No node or sentinel knows it within the time limit, or there are no credentials.
    pub(crate) async fn find(&self) -> Result<(Found, Entrance), Error> {
        let credentials = self.ask_for_credentials().await?;
        let found = match &self.topology {
            Topology::Server(first) => {
                let mut state = lock(&self.state);
                state.is_following = state.moved.is_some();
                Found {
                    info: state.moved.as_ref().unwrap_or(first).clone(),
                    failover: None,
                }
            }
            Topology::Cluster(seeds) => Found {
                info: self.find_node(seeds, credentials.as_ref()).await?,
                failover: None,
            },
            Topology::Sentinels {
                sentinels,
                primary,
                server,
            } => self.find_primary(sentinels, primary, server).await?,
        };
        lock(&self.state).found = Some(found.clone());
        let entrance = entrance(&found, credentials);
        Ok((found, entrance))
    }

    async fn find_node(
        &self,
        seeds: &[ConnectionInfo],
        credentials: Option<&Renewable>,
    ) -> Result<ConnectionInfo, Error> {
        let (moved, turn) = {
            let mut state = lock(&self.state);
            let moved = state.moved.take();
            state.is_following = moved.is_some();
            (moved, state.next_turn())
        };
        if let Some(moved) = moved {
            return Ok(moved);
        }
        let candidates = self.known.candidates(seeds, turn);
        let candidates = candidates.into_iter().map(|info| match credentials {
            Some((credentials, _)) => credentials.of(&info),
            None => info,
        });
        let search = cluster::owner(
            candidates.collect(),
            &self.key,
            self.root(),
            &self.known,
            self.limit,
        );
        let node = search.await?;
        // Without the credentials, which are asked for again for later connections.
        Ok(match seeds.first() {
            Some(seed) => seed.clone().set_addr(node.addr().clone()),
            None => node,
        })
    }

    async fn find_primary(
        &self,
        sentinels: &[ConnectionInfo],
        name: &str,
        server: &ConnectionInfo,
    ) -> Result<Found, Error> {
        let (agreed, outvoted) = {
            let mut state = lock(&self.state);
            state.outvoted_by = None;
            (state.agreed.take(), state.outvoted.clone())
        };
        if let Some(agreed) = agreed {
            return Ok(agreed);
        }
        let is_void = |primary: &sentinels::Primary| {
            let named = found_at(server, primary);
            outvoted.as_ref().is_some_and(|left| left.outdates(&named))
        };
        let primary = sentinels::primary(sentinels, name, self.root(), self.limit, is_void).await?;
        Ok(found_at(server, &primary))
    }

    /// Checks that a server that is no node of a cluster may be used.
    ///
    /// # Errors
    /// There are several seeds. Nothing makes servers that are no cluster agree on which of them
    /// has a shard, so instances would use different ones, and miss each other's invalidations.
    pub(crate) fn check_server_alone(&self) -> Result<(), Error> {
        match &self.topology {
            Topology::Cluster(seeds) if seeds.len() > 1 => {
                let problem = format!(
                    "the server at {} is no node of a cluster, and `Redis::cluster` has {} seeds",
                    self.address(),
                    seeds.len()
                );
                Err(configuration(
                    problem,
                    "start the servers with `cluster-enabled yes`, or use one server, with \
                     `Redis::new` and `shards`",
                ))
            }
            _ => Ok(()),
        }
    }

    /// Returns the server that was found last.
    pub(crate) fn found(&self) -> Option<Found> {
        lock(&self.state).found.clone()
    }

    /// Gets the credentials for one more connection to `found`.
    ///
    /// # Errors
    /// The function of [`Redis::credentials`](crate::Redis::credentials) fails.
    pub(crate) async fn enter(&self, found: &Found) -> Result<Entrance, Error> {
        Ok(entrance(found, self.ask_for_credentials().await?))
    }

    /// Asks the user's function, if there is one.
    pub(crate) async fn ask_for_credentials(&self) -> Result<Option<Renewable>, Error> {
        let Some(source) = &self.access.credentials else {
            return Ok(None);
        };
        // The life of a token begins before the answer with it arrives.
        let since = Instant::now();
        let credentials = source.ask(self.limit).await?;
        lock(&self.state).user = credentials.user().map(str::to_owned);
        let life = credentials.life_from(since);
        Ok(Some((credentials, life)))
    }

    /// Follows the redirection of a cluster's node to the one that has the shard, or forgets it
    /// after any other error. Returns `true` if the other node can be tried at once.
    pub(crate) fn follow(&self, error: &Error) -> bool {
        let mut state = lock(&self.state);
        let found = state.found.as_ref();
        state.moved = found.and_then(|found| errors::moved_by(&found.info, error));
        // Two nodes that name each other are tried with pauses.
        !state.is_following && state.moved.is_some()
    }

    /// Forgets where the server was found. Returns `true` if the next search may find another one.
    pub(crate) fn forget(&self) -> bool {
        let was_moved = lock(&self.state).moved.take().is_some();
        was_moved || !matches!(self.topology, Topology::Server(_))
    }

    /// `true` if several seeds may name the nodes of a cluster.
    pub(crate) fn has_cluster(&self) -> bool {
        matches!(self.topology, Topology::Cluster(_))
    }

    /// `true` if the servers are found by sentinels, so that a primary may be replaced and live on.
    pub(crate) fn has_sentinels(&self) -> bool {
        matches!(self.topology, Topology::Sentinels { .. })
    }

    /// Asks one of the sentinels, each time another one, whether another server has become the
    /// primary since `found` was found. If it does not answer, nothing is known.
    ///
    /// A later failover is enough. If the sentinel names another server without one, it may not
    /// have learned of the last failover yet, or the numbers have begun again. So that server
    /// counts if more than half of the sentinels name it, in two calls that follow each other.
    pub(crate) async fn is_replaced(&self, found: &Found) -> bool {
        let Topology::Sentinels {
            sentinels,
            primary,
            server,
        } = &self.topology
        else {
            return false;
        };
        let (turn, outvoted) = {
            let mut state = lock(&self.state);
            (state.next_turn(), state.outvoted.clone())
        };
        let Some(sentinel) = sentinels.get(turn % sentinels.len()) else {
            return false;
        };
        let question = sentinels::ask(sentinel, primary, self.root());
        let now = match timed("ask a sentinel", "Redis", self.limit, question).await {
            Ok(Ok(now)) => found_at(server, &now),
            Ok(Err(error)) | Err(error) => {
                tracing::debug!(target: "multi_tier_cached::redis", error = ?error, sentinel = %sentinel.addr(), "a sentinel does not say which server is the primary");
                return false;
            }
        };
        let is_void = outvoted.is_some_and(|left| left.outdates(&now));
        let is_same = now.is_at(found);
        if now.failover > found.failover && !is_void {
            if is_same {
                // With its number, so that the next answer of this sentinel is no later one.
                lock(&self.state).agreed = Some(now);
            }
            return true;
        }
        if is_same {
            return false;
        }
        let search = sentinels::agreed(sentinels, primary, self.root());
        let agreed = timed("ask the sentinels", "Redis", self.limit, search).await;
        let agreed = agreed.ok().flatten().map(|now| found_at(server, &now));
        self.is_outvoted(found, agreed)
    }

    /// Notes the server that more than half of the sentinels name. Returns `true` if they have
    /// named it before, and it is not `found`.
    fn is_outvoted(&self, found: &Found, agreed: Option<Found>) -> bool {
        let agreed = agreed.filter(|agreed| !agreed.is_at(found));
        let mut state = lock(&self.state);
        let before = std::mem::replace(&mut state.outvoted_by, agreed.clone());
        let (Some(before), Some(agreed)) = (before, agreed) else {
            return false;
        };
        let is_confirmed = before.is_at(&agreed);
        if is_confirmed {
            state.agreed = Some(agreed);
            state.outvoted = Some(found.clone());
        }
        is_confirmed
    }
}

#[cfg(test)]
pub(crate) mod tests;
