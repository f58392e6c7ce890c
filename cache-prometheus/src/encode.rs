//! From samples to the encoder of the client library.

use std::fmt;
use std::time::Duration;

use cache_core::Histogram;
use cache_core::metrics::{Family, Kind, Sample, SampleValue};
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeLabel, EncodeLabelSet, LabelSetEncoder, MetricEncoder, NoLabelSet,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::Unit;

/// Encodes samples, those of each family one after the other, as [`CacheRuntime::samples`] has
/// them.
///
/// [`CacheRuntime::samples`]: cache_core::CacheRuntime::samples
pub(crate) fn encode(samples: &[Sample], mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
    for of_family in samples.chunk_by(|one, other| std::ptr::eq(one.family, other.family)) {
        let family = of_family[0].family;
        let (name, unit) = name_and_unit(family);
        let mut encoder = encoder.encode_descriptor(
            name,
            family.help,
            unit.as_ref(),
            metric_type(family.kind),
        )?;
        for sample in of_family {
            // An empty set of labels would be written as an empty pair of braces.
            match sample.attributes().next() {
                None => encode_value(&sample.value, &mut encoder)?,
                Some(_) => {
                    encode_value(&sample.value, &mut encoder.encode_family(&Labels(sample))?)?
                }
            }
        }
    }
    Ok(())
}

/// Splits the name of a family into that which the encoder needs, and the unit that it appends. The
/// encoder also appends the suffix of counters.
fn name_and_unit(family: &Family) -> (&'static str, Option<Unit>) {
    let name = family.prometheus;
    let name = match family.kind {
        Kind::Counter => name.strip_suffix("_total").unwrap_or(name),
        _ => name,
    };
    let units = [("_seconds", Unit::Seconds), ("_bytes", Unit::Bytes)];
    for (suffix, unit) in units {
        if let Some(name) = name.strip_suffix(suffix) {
            return (name, Some(unit));
        }
    }
    (name, None)
}

fn metric_type(kind: Kind) -> MetricType {
    match kind {
        Kind::Counter => MetricType::Counter,
        Kind::UpDownCounter | Kind::Gauge => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        _ => MetricType::Unknown,
    }
}

fn encode_value(value: &SampleValue, encoder: &mut MetricEncoder<'_>) -> fmt::Result {
    match value {
        SampleValue::Counter(number) => encoder.encode_counter::<NoLabelSet, _, f64>(number, None),
        SampleValue::UpDownCounter(number) => encoder.encode_gauge(number),
        SampleValue::Gauge(number) => encoder.encode_gauge(number),
        SampleValue::Histogram(histogram) => {
            let buckets = buckets(histogram);
            let (sum, count) = (histogram.sum().as_secs_f64(), histogram.count());
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        }
        // A kind that this version does not know has no value.
        _ => Ok(()),
    }
}

/// Returns the bounds in seconds with the counts. The encoder adds them up.
fn buckets(histogram: &Histogram) -> Vec<(f64, u64)> {
    let buckets = histogram.exported().into_iter();
    let bound = |up_to: Option<Duration>| up_to.map_or(f64::INFINITY, |up_to| up_to.as_secs_f64());
    buckets
        .map(|bucket| (bound(bucket.up_to), bucket.count))
        .collect()
}

/// The labels of a sample.
struct Labels<'a>(&'a Sample);

impl EncodeLabelSet for Labels<'_> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        for (name, value) in self.0.attributes() {
            EncodeLabel::encode(&(name, value.as_str()), encoder.encode_label())?;
        }
        Ok(())
    }
}
