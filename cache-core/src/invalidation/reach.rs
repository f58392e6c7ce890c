//! The tiers that an invalidation concerns.

use std::sync::Arc;

use crate::cached_function::CachedFunction;
use crate::error::Error;
use crate::state::RuntimeState;
use crate::tokio_context::TokioContext;

/// The tiers that an invalidation concerns.
#[derive(Clone)]
pub(super) enum Reach {
    /// Tiers of a function.
    Function {
        bound: Arc<CachedFunction>,
        /// The digest of the key, if there is one key and a tier below memory.
        digest: Option<u64>,
    },
    /// All tiers of the runtime.
    Runtime(Arc<RuntimeState>),
}

impl Reach {
    /// Returns the Tokio runtime in which the tiers work. `None` without tiers below memory.
    pub(super) fn tokio_context(&self) -> Option<&TokioContext> {
        match self {
            Self::Function { bound, .. } => bound.tokio_context(),
            Self::Runtime(state) => {
                let context = state.tokio_context.get();
                context.filter(|_| !state.lower.is_empty())
            }
        }
    }

    /// Waits until no instance can answer with a value that was invalidated before.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        match self {
            Self::Function { bound, digest } => bound.settle(*digest).await,
            Self::Runtime(state) => state.settle().await,
        }
    }

    /// Returns the numbers of the links to the tiers.
    pub(super) fn links(&self) -> Vec<u64> {
        match self {
            Self::Function { bound, digest } => bound.links(*digest),
            Self::Runtime(state) => state.links(),
        }
    }

    /// Waits until so many replicas of each shared tier have what was acknowledged.
    pub(super) async fn replicated(&self, replicas: u32) -> Result<(), Error> {
        match self {
            Self::Function { bound, digest } => bound.replicated(replicas, *digest).await,
            Self::Runtime(state) => state.replicated(replicas).await,
        }
    }
}
