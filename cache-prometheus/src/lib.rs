//! The metrics of `multi-tier-cached` for [Prometheus](https://prometheus.io).
//!
//! Programs use it through the feature `prometheus` of the facade `multi-tier-cached`.
//! [`PrometheusMetrics`] adds two methods to [`CacheRuntime`]: one for a program that has a
//! registry of the crate [`prometheus_client`], and one for a program that has none.
//!
//! Nothing is counted here. Each scrape reads the counters that the runtime has in any case, and
//! the names, kinds, units and texts are those of [`FAMILIES`](cache_core::metrics::FAMILIES).
//!
//! ```
//! use cache_core::{CacheRuntime, Memory};
//! use cache_prometheus::{CONTENT_TYPE, PrometheusMetrics};
//! use cache_prometheus::prometheus_client::registry::Registry;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), cache_core::Error> {
//! let runtime = CacheRuntime::builder().l1(Memory::builder()).build().await?;
//!
//! // A program with a registry of its own.
//! let mut registry = Registry::default();
//! registry.register_collector(Box::new(runtime.prometheus_collector()));
//!
//! // A program without one: the body of the answer to a scrape, and its header.
//! let (body, content_type) = (runtime.prometheus_text(), CONTENT_TYPE);
//! assert!(body.contains("multi_tier_cached_info{"));
//! assert!(content_type.starts_with("application/openmetrics-text"));
//! # Ok(())
//! # }
//! ```

mod encode;

use std::fmt;

use cache_core::CacheRuntime;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, text};
use prometheus_client::registry::Registry;

pub use prometheus_client;

/// The content type of [`prometheus_text`](PrometheusMetrics::prometheus_text), for the header of
/// the same name: the text format of OpenMetrics.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics of a [`CacheRuntime`] for Prometheus.
pub trait PrometheusMetrics {
    /// Returns a collector for a registry of the program. It keeps the runtime alive.
    ///
    /// The names of the time series begin with `multi_tier_cached`. To tell several runtimes of a
    /// process apart, register each in a
    /// [sub-registry with a label](Registry::sub_registry_with_label).
    fn prometheus_collector(&self) -> RuntimeCollector;

    /// Returns all time series in the text format of OpenMetrics, as the answer to one scrape. Its
    /// content type is [`CONTENT_TYPE`].
    fn prometheus_text(&self) -> String;
}

impl PrometheusMetrics for CacheRuntime {
    fn prometheus_collector(&self) -> RuntimeCollector {
        RuntimeCollector {
            runtime: self.clone(),
        }
    }

    fn prometheus_text(&self) -> String {
        let mut registry = Registry::default();
        registry.register_collector(Box::new(self.prometheus_collector()));
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = text::encode(&mut text, &registry);
        text
    }
}

/// Collects the time series of a runtime at each scrape.
#[derive(Clone, Debug)]
pub struct RuntimeCollector {
    runtime: CacheRuntime,
}

impl Collector for RuntimeCollector {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        encode::encode(&self.runtime.samples(), encoder)
    }
}
