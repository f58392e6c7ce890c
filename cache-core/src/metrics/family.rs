//! A family of time series.

/// A family of time series: samples that differ in the values of their attributes only.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Family {
    /// The name by the conventions of OpenTelemetry: `multi_tier_cached.load.duration`.
    pub name: &'static str,
    /// The name by the conventions of Prometheus, as queries have it:
    /// `multi_tier_cached_load_duration_seconds`. A histogram adds `_bucket`, `_sum` and `_count`.
    pub prometheus: &'static str,
    /// The kind of its values.
    pub kind: Kind,
    /// The unit, by the Unified Code for Units of Measure: `s`, `By`, `1`, or a thing that is
    /// counted, such as `{load}`.
    pub unit: &'static str,
    /// A sentence that says what the values are, without a full stop.
    pub help: &'static str,
    /// The attributes of its samples, in order.
    pub attributes: &'static [Attribute],
}

/// An attribute of the samples of a family. Prometheus calls it a label.
#[derive(Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Attribute {
    /// The name.
    pub name: &'static str,
    /// The values that it can have. Empty if they depend on the program: the names of functions,
    /// and the levels, kinds and shards of tiers.
    pub values: &'static [&'static str],
}

/// The kind of the values of a family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// A number that only grows, from zero when the runtime is built.
    Counter,
    /// A number whose sum over instances is meaningful, and that also falls.
    UpDownCounter,
    /// A number whose sum over instances is not meaningful.
    Gauge,
    /// A histogram of durations, with the bounds of
    /// [`Histogram::exported_bounds`](crate::Histogram::exported_bounds).
    Histogram,
}

impl Kind {
    /// Returns the name of the kind in Prometheus, which has no up-down counter.
    #[must_use]
    pub const fn prometheus(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::UpDownCounter | Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

impl Family {
    /// Returns the attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&'static Attribute> {
        self.attributes
            .iter()
            .find(|attribute| attribute.name == name)
    }
}
