//! How a runtime gets its tiers.

use std::fmt;
use std::sync::Arc;

use super::contract::Tier;
use super::peers::Peers;
use crate::error::Error;
use crate::level::Level;

/// The arguments that the runtime passes to the builder of a tier.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TierContext {
    /// The level that the tier will have.
    pub level: Level,
    /// The recipient of the invalidations of other instances.
    pub peers: Peers,
}

impl TierContext {
    /// Creates a context.
    #[must_use]
    pub fn new(level: Level, peers: Peers) -> Self {
        Self { level, peers }
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
}
