//! Counters, which are always enabled, and the statistics that users see.

mod counter;
mod counters;
mod histogram;
mod load_times;
mod merge;
mod report;
mod table;
mod times_table;

pub(crate) use self::counter::Counter;
pub use self::counters::Refusal;
pub(crate) use self::counters::{FunctionCounters, TierCounters};
pub(crate) use self::histogram::LiveHistogram;
pub use self::histogram::{Histogram, HistogramBucket};
pub(crate) use self::load_times::LoadResult;
pub use self::load_times::LoadTimes;
pub use self::report::{
    ExpiriesByScope, FunctionStats, InvalidationsByScope, RefusedFills, Stats, TierStats,
    UncachedCalls,
};
pub(crate) use self::times_table::shown;
