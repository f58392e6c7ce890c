//! The metrics that the library of OpenTelemetry exports, collected in memory.

use std::collections::BTreeMap;

use cache_opentelemetry::opentelemetry::KeyValue;
use cache_opentelemetry::opentelemetry::metrics::MeterProvider;
use cache_opentelemetry::{Instruments, instrument};
use multi_tier_cached::CacheRuntime;
use opentelemetry_sdk::metrics::data::{AggregatedMetrics, Metric, MetricData};
use opentelemetry_sdk::metrics::{InMemoryMetricExporter, PeriodicReader, SdkMeterProvider};

use super::{Attributes, Series, Value};

/// The metrics of one runtime.
pub(super) struct Exported {
    exporter: InMemoryMetricExporter,
    provider: SdkMeterProvider,
    instruments: Option<Instruments>,
}

impl Exported {
    pub(super) fn of(runtime: &CacheRuntime) -> Self {
        let exporter = InMemoryMetricExporter::default();
        let reader = PeriodicReader::builder(exporter.clone()).build();
        let provider = SdkMeterProvider::builder().with_reader(reader).build();
        let instruments = instrument(runtime, &provider.meter("tests"));
        Self {
            exporter,
            provider,
            instruments: Some(instruments),
        }
    }

    /// Drops the instruments.
    pub(super) fn stop(&mut self) {
        drop(self.instruments.take());
    }

    /// Collects once, and returns the families by their names.
    pub(super) fn collect(&self) -> BTreeMap<String, Series> {
        self.exporter.reset();
        self.provider.force_flush().unwrap();
        let collected = self.exporter.get_finished_metrics().unwrap();
        let last = collected.last().expect("a collection");
        let metrics = last.scope_metrics().flat_map(|scope| scope.metrics());
        metrics
            .map(|metric| (metric.name().to_owned(), series(metric)))
            .collect()
    }
}

fn series(metric: &Metric) -> Series {
    let (kind, values) = match metric.data() {
        AggregatedMetrics::U64(data) => data_points(data, |number| number as f64),
        AggregatedMetrics::I64(data) => data_points(data, |number| number as f64),
        AggregatedMetrics::F64(data) => data_points(data, |number| number),
    };
    Series {
        kind: kind.to_owned(),
        unit: metric.unit().to_owned(),
        help: metric.description().to_owned(),
        values,
    }
}

fn data_points<T: Copy>(
    data: &MetricData<T>,
    number: fn(T) -> f64,
) -> (&'static str, BTreeMap<Attributes, Value>) {
    match data {
        MetricData::Sum(sum) => {
            let points = sum.data_points();
            let values = points.map(|point| {
                let value = Value::Number(number(point.value()));
                (attributes(point.attributes()), value)
            });
            let kind = match sum.is_monotonic() {
                true => "monotonic sum",
                false => "sum",
            };
            (kind, values.collect())
        }
        MetricData::Gauge(gauge) => {
            let points = gauge.data_points();
            let values = points.map(|point| {
                let value = Value::Number(number(point.value()));
                (attributes(point.attributes()), value)
            });
            ("gauge", values.collect())
        }
        MetricData::Histogram(histogram) => {
            let values = histogram.data_points().map(|point| {
                let mut below = 0;
                let bounds = point.bounds().chain([f64::INFINITY]);
                let buckets = bounds.zip(point.bucket_counts()).map(|(bound, count)| {
                    below += count;
                    (bound, below)
                });
                let value = Value::Histogram(buckets.collect(), number(point.sum()));
                (attributes(point.attributes()), value)
            });
            ("histogram", values.collect())
        }
        MetricData::ExponentialHistogram(_) => panic!("a histogram without bounds"),
    }
}

fn attributes<'a>(pairs: impl Iterator<Item = &'a KeyValue>) -> Attributes {
    pairs
        .map(|pair| (pair.key.to_string(), pair.value.to_string()))
        .collect()
}
