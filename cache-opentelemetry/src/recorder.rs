//! The histograms, into which single durations are recorded.

use std::time::Duration;

use cache_core::Histogram;
use cache_core::metrics::{FAMILIES, Family, Kind, Observer};
use opentelemetry::KeyValue;
use opentelemetry::metrics::{self, Meter};

/// Records the durations of a runtime.
#[derive(Debug)]
pub(crate) struct Recorder {
    histograms: Vec<(&'static Family, metrics::Histogram<f64>)>,
}

impl Recorder {
    /// Makes the histogram of each family that is one, with the bounds that the runtime's own
    /// histograms have. The default bounds of the library are made for milliseconds: in seconds,
    /// the first one is 5 s.
    pub(crate) fn new(meter: &Meter) -> Self {
        let bounds = Histogram::exported_bounds().map(|bound| bound.as_secs_f64());
        let bounds: Vec<f64> = bounds.collect();
        let families = FAMILIES.iter().copied();
        let histograms = families.filter(|family| family.kind == Kind::Histogram);
        let histograms = histograms.map(|family| {
            let builder = meter.f64_histogram(family.name);
            let builder = builder.with_unit(family.unit).with_description(family.help);
            (family, builder.with_boundaries(bounds.clone()).build())
        });
        Self {
            histograms: histograms.collect(),
        }
    }
}

impl Observer for Recorder {
    fn observe(&self, family: &'static Family, attributes: &[&str], took: Duration) {
        let known = |(known, _): &&(&'static Family, _)| std::ptr::eq(*known, family);
        let Some((_, histogram)) = self.histograms.iter().find(known) else {
            return;
        };
        let attributes = family.attributes.iter().zip(attributes);
        let attributes: Vec<_> = attributes
            .map(|(attribute, value)| KeyValue::new(attribute.name, (*value).to_owned()))
            .collect();
        histogram.record(took.as_secs_f64(), &attributes);
    }
}
