//! Tiers below memory: stores of records, shared with other instances or outliving this one.
//!
//! A tier holds bytes under keys until they expire. The *fenced fill* keeps an old value from
//! coming back: a record is stored only under a [`Lease`] that was taken before its load began, and
//! an invalidation voids every lease of its target in the same step in which it deletes the
//! records. So a value that was loaded before an invalidation is never stored after it, however
//! slow its load was.
//!
//! A tier of your own implements [`Tier`], and [`SharedTier`] if several instances use its store.
//! [`kit`] has the parts that tiers have in common.

mod builder;
pub(crate) mod config;
mod contract;
mod key;
pub mod kit;
mod last_error;
mod lease;
mod ledger;
mod local;
mod many;
pub(crate) mod memory;
#[cfg(feature = "inspect")]
mod observed;
mod operation;
mod operation_times;
mod peers;
mod received;
mod settings;
pub(crate) mod shard;
mod shared;
mod status;
pub(crate) mod store;
pub(crate) mod time_limit;
mod waits;
pub(crate) mod watch;

pub use self::builder::{TierBuilder, TierContext};
pub use self::contract::Tier;
pub use self::key::{FunctionKey, RecordKey};
pub use self::last_error::LastError;
pub use self::lease::{
    BackOff, Deadlock, Guard, GuardHeld, HeldLease, Lease, LeaseHeld, LeaseMode, LeaseResult,
    Wakeup, Woken,
};
pub use self::ledger::{Expiry, Ledger, Mark, Marks, MarksState};
pub use self::local::LocalLeases;
pub use self::many::{Fill, LeaseRequest, ManyFuture};
#[cfg(feature = "inspect")]
pub use self::observed::{AboutInstance, ObservedRuntime};
pub use self::operation::{
    FillResult, HEADER_LEN, Matched, ReadOptions, ReadResult, Receipt, Target, TierFuture,
};
pub use self::operation_times::{OperationTimes, ResultTimes};
pub use self::peers::Peers;
pub use self::received::ReceivedInvalidations;
pub use self::settings::TierSettings;
pub use self::shard::Shard;
pub use self::shared::SharedTier;
pub use self::status::{Breaker, Health, ShardStatus, TierStatus};
pub use self::waits::{AwaitedLease, ShardWaits};
pub use crate::glob::Glob;
pub use crate::record::{ETAG, Etag, Stamp};
pub use crate::stats::Refusal;
