//! How a runtime gets its tiers.

use std::fmt;
use std::sync::Arc;

use super::contract::Tier;
use super::peers::Peers;
use super::shard::Shard;
use crate::error::Error;
use crate::level::Level;

/// The arguments that the runtime passes to the builder of a tier.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierContext {
    /// The level that the tier will have.
    pub level: Level,
    /// The shard of the store that the tier will be. [`Shard::ONLY`] if the store has one.
    pub shard: Shard,
    /// The recipient of the invalidations of other instances.
    pub peers: Peers,
}

impl TierContext {
    /// Creates the context of a store with one shard.
    #[must_use]
    pub fn new(level: Level, peers: Peers) -> Self {
        Self {
            level,
            shard: peers.shard(),
            peers,
        }
    }

    /// Creates the contexts of a store with `of` shards, in the order of their indices.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if `of` is no power of two from 1 to
    /// [`Shard::MAX`].
    pub fn of_shards(&self, of: u8) -> Result<Vec<Self>, Error> {
        let of_shard = |shard| Self {
            shard,
            peers: self.peers.of_shard(shard),
            ..self.clone()
        };
        Ok(Shard::all(of)?.into_iter().map(of_shard).collect())
    }
}

/// The settings of a tier, from which the runtime builds it, such as `Redis::new("redis://…")`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no tier below memory",
    label = "give a tier such as `Redis::new(\"redis://127.0.0.1:6379\")`",
    note = "memory is `l1`: `.l1(Memory::builder())`"
)]
pub trait TierBuilder: fmt::Debug + Send {
    /// Returns the name of the store, as far as the settings tell which one it is.
    ///
    /// If two tiers of one runtime return the same name, `install` fails: each of them would wait
    /// for leases that the other holds. Default: `None`, which means that no two tiers can share a
    /// store, or that nothing is known.
    fn store(&self) -> Option<String> {
        None
    }

    /// Builds the tier. Must not use the network: [`Tier::start`] connects.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if a setting is not valid.
    fn build(self: Box<Self>, context: &TierContext) -> Result<Arc<dyn Tier>, Error>;

    /// Returns the number of shards that the store has: a power of two, at most
    /// [`Shard::MAX`]. Default: 1.
    ///
    /// A store of several shards can be spread over several servers. Each shard is a tier of its
    /// own, with a link, a channel and coherence of its own, and has the keys whose digest it
    /// [holds](Shard::holds). The runtime uses it for these keys, and for the functions and
    /// everything as far as they are in it. So a shard that cannot be reached isolates its own keys
    /// only.
    fn shards(&self) -> u8 {
        1
    }

    /// Builds the tier of each shard, in the order of `contexts`, which has one for each of the
    /// [shards](Self::shards). All of them MUST have the same settings, and be
    /// [shared](Tier::as_shared) or not alike. Default: [`build`](Self::build) with the only
    /// context.
    ///
    /// # Errors
    /// As [`build`](Self::build).
    fn build_shards(
        self: Box<Self>,
        contexts: &[TierContext],
    ) -> Result<Vec<Arc<dyn Tier>>, Error> {
        match contexts {
            [context, ..] => Ok(vec![self.build(context)?]),
            [] => Ok(Vec::new()),
        }
    }
}
