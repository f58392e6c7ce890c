//! Metrics: the table of the families of time series, and the samples of a runtime.
//!
//! [`FAMILIES`] has the name, the kind, the unit, the help and the attributes of each family.
//! [`CacheRuntime::samples`](crate::CacheRuntime::samples) reads the counters that a runtime has
//! in any case, so nothing is added to a call. The crates `cache-prometheus` and
//! `cache-opentelemetry` export the samples, and know no family by its name. A program that uses
//! another library for metrics exports them in the same way.

mod collect;
mod detail;
pub(crate) mod families;
mod family;
mod observer;
mod of_functions;
mod of_runtime;
mod of_tiers;
mod sample;

pub(crate) use self::detail::ALL_FUNCTIONS;
pub use self::detail::MetricsDetail;
pub use self::families::FAMILIES;
pub use self::family::{Attribute, Family, Kind};
pub(crate) use self::observer::Observers;
pub use self::observer::{Observation, Observer};
pub use self::sample::{Sample, SampleValue, Text};
