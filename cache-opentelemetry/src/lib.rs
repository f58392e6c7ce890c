//! The metrics of `multi-tier-cached` for [OpenTelemetry](https://opentelemetry.io).
//!
//! [`instrument`] makes an instrument of the program's [`Meter`] for each of the
//! [`FAMILIES`](cache_core::metrics::FAMILIES), with its name, unit and description. The crate
//! follows the versions of the crate [`opentelemetry`], which it re-exports: a meter of another
//! version is another type.
//!
//! Counters and gauges are read when metrics are collected, from the counters that the runtime has
//! in any case. OpenTelemetry has no histogram that can be read so: the duration of each body and
//! of each operation on a tier is recorded when it ends, from the call of `instrument` on. A call
//! that memory answers records nothing.
//!
//! ```
//! use cache_core::{CacheRuntime, Memory};
//! use cache_opentelemetry::instrument;
//! use cache_opentelemetry::opentelemetry::metrics::MeterProvider;
//! use opentelemetry_sdk::metrics::SdkMeterProvider;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), cache_core::Error> {
//! # let provider = SdkMeterProvider::builder().build();
//! let runtime = CacheRuntime::builder().l1(Memory::builder()).build().await?;
//! let instruments = instrument(&runtime, &provider.meter("shop"));
//! // The program runs. Nothing is observed any more when the instruments are dropped.
//! drop(instruments);
//! # Ok(())
//! # }
//! ```

mod instruments;
mod recorder;

use cache_core::CacheRuntime;
use opentelemetry::metrics::Meter;

pub use self::instruments::Instruments;
pub use opentelemetry;

/// Makes the instruments of a runtime, and observes them until the result is dropped.
///
/// To tell several runtimes of a process apart, give each a meter of its own, with an attribute in
/// its scope.
pub fn instrument(runtime: &CacheRuntime, meter: &Meter) -> Instruments {
    Instruments::new(runtime, meter)
}
