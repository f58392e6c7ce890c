//! The runtime of `multi-tier-cached`: keys, entries, tiers, flights, fences and policies.
//!
//! It does no I/O, and knows neither Redis nor the attribute: tiers implement [`tier::Tier`] in
//! crates of their own, and the attribute expands to calls into a private module of this crate.
//! Programs use it through the facade `multi-tier-cached`.

pub mod caching;
pub mod codec;
#[cfg(feature = "inspect")]
pub mod inspect;
pub mod stream;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tier;

mod background;
mod blocking;
mod cached_function;
mod call;
mod call_trace;
mod clock;
mod coherence;
mod entry;
mod error;
mod events;
mod explanation;
mod fence;
mod flight;
mod function;
mod glob;
mod handle;
mod invalidation;
mod join;
mod key;
mod late_load;
mod level;
mod load;
mod load_timeout;
mod log_limit;
pub mod metrics;
mod outcome;
mod panics;
mod reason;
mod record;
mod runtime;
mod setting;
mod stale;
mod state;
mod stats;
mod sync;
mod tag;
mod timer;
mod tokio_context;
mod trace;
mod weigh;
mod write_guard;

#[doc(hidden)]
pub mod private;

pub use crate::background::BackgroundLoads;
pub use crate::call::CacheValue;
pub use crate::call_trace::{CallOutcome, CallStep, CallTrace, StepKind};
pub use crate::clock::{ManualClock, unix_millis};
pub use crate::coherence::{Barrier, Coherence};
pub use crate::error::{Error, ErrorKind};
pub use crate::events::{Event, EventKind, EventOrigin, EventScope};
pub use crate::explanation::{
    ChannelSeen, ExplainedFlight, ExplainedTier, Explanation, NextCall, RecordSeen, StaleReason,
    Verdict,
};
pub use crate::function::builder::FunctionBuilder;
pub use crate::function::built::Function;
pub use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
pub use crate::function::registry::registered_functions;
pub use crate::function::times::RefreshAhead;
pub use crate::function::ttl::Ttl;
pub use crate::handle::{BatchEntry, Call, Handle, OptionalCall, PlainCall};
pub use crate::invalidation::Invalidation;
pub use crate::key::KeyArgument;
pub use crate::level::Level;
pub use crate::load_timeout::LoadTimeout;
pub use crate::outcome::error_rules::{ErrorIf, StaleIf, TimeoutFrom, WithShare};
pub use crate::outcome::{
    NotShared, Outcome, ShareByClone, ShareByText, ShareError, ShareWith, SharedError, View,
};
pub use crate::reason::{FencedBy, Mismatch};
pub use crate::runtime::builder::{
    BoxedTier, BuildFromEnv, EnvTier, Environment, IntoTier, RuntimeBuilder,
};
pub use crate::runtime::{CacheRuntime, RuntimeHealth, Snapshot};
pub use crate::stats::{
    ExpiriesByScope, FunctionStats, Histogram, HistogramBucket, InvalidationsByScope, LoadTimes,
    RefusedFills, Stats, TierStats, UncachedCalls,
};
pub use crate::tag::Tag;
pub use crate::tier::config::{Promotion, TierConfig};
pub use crate::tier::memory::{Engine, Memory};
pub use crate::weigh::Weigh;
pub use crate::write_guard::WriteGuard;
