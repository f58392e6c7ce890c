//! The instruments that are read when metrics are collected.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use cache_core::CacheRuntime;
use cache_core::metrics::{FAMILIES, Family, Kind, Observation, Sample, SampleValue, Text};
use opentelemetry::metrics::{AsyncInstrument, Meter};
use opentelemetry::{KeyValue, StringValue, Value};

use crate::recorder::Recorder;

/// The instruments of a runtime. When they are dropped, nothing is observed any more.
#[must_use = "nothing is observed after the instruments are dropped"]
#[derive(Debug)]
pub struct Instruments {
    /// The callbacks of the instruments hold it weakly: a meter keeps them for as long as it lives.
    _source: Arc<Source>,
    _observation: Observation,
}

impl Instruments {
    pub(crate) fn new(runtime: &CacheRuntime, meter: &Meter) -> Self {
        let source = Arc::new(Source {
            runtime: runtime.clone(),
            collected: Mutex::default(),
        });
        for (number, family) in FAMILIES.iter().enumerate() {
            let source = Arc::downgrade(&source);
            build(meter, family, Callback { source, number });
        }
        let observation = runtime.observe(Arc::new(Recorder::new(meter)));
        Self {
            _source: source,
            _observation: observation,
        }
    }
}

/// The samples of a runtime, by family.
///
/// A meter calls back for each instrument, and reading a runtime once for each of some forty
/// families would take forty times as long. So the samples of all families are read together. Each
/// family is taken once. If one is taken again, the next collection has begun, and all are read
/// again.
#[derive(Debug)]
struct Source {
    runtime: CacheRuntime,
    /// By the numbers of the families. `None` for one that was taken.
    ///
    /// Lock rule: the lock is held while the runtime is read, and never across an await.
    collected: Mutex<Vec<Option<Vec<Sample>>>>,
}

impl Source {
    /// Returns the samples of the family with this number.
    fn take(&self, number: usize) -> Vec<Sample> {
        let collected = &self.collected;
        let mut collected = collected.lock().unwrap_or_else(PoisonError::into_inner);
        if collected.get(number).is_none_or(Option::is_none) {
            *collected = by_family(self.runtime.samples());
        }
        let samples = collected.get_mut(number).and_then(Option::take);
        samples.unwrap_or_default()
    }
}

/// Splits samples, which are in the order of the families.
fn by_family(samples: Vec<Sample>) -> Vec<Option<Vec<Sample>>> {
    let mut samples = samples.into_iter().peekable();
    let mut take = |family: &Family| {
        let is_of = |sample: &Sample| std::ptr::eq(sample.family, family);
        Some(std::iter::from_fn(|| samples.next_if(is_of)).collect())
    };
    FAMILIES.iter().map(|family| take(family)).collect()
}

/// Observes one family.
struct Callback {
    source: Weak<Source>,
    number: usize,
}

impl Callback {
    /// Observes each sample whose value `convert` can take.
    fn observe<T>(
        &self,
        observer: &dyn AsyncInstrument<T>,
        convert: fn(&SampleValue) -> Option<T>,
    ) {
        let Some(source) = self.source.upgrade() else {
            return;
        };
        for sample in source.take(self.number) {
            if let Some(value) = convert(&sample.value) {
                let attributes: Vec<_> = sample.attributes().map(key_value).collect();
                observer.observe(value, &attributes);
            }
        }
    }
}

fn key_value((name, value): (&'static str, &Text)) -> KeyValue {
    let value = match value {
        Text::Static(text) => StringValue::from(*text),
        Text::Shared(text) => StringValue::from(Arc::clone(text)),
        other => StringValue::from(other.as_str().to_owned()),
    };
    KeyValue::new(name, Value::String(value))
}

/// Makes the instrument of a family that is read. Histograms are made by the [`Recorder`].
fn build(meter: &Meter, family: &'static Family, callback: Callback) {
    match family.kind {
        Kind::Counter => {
            let builder = meter.u64_observable_counter(family.name);
            let builder = builder.with_unit(family.unit).with_description(family.help);
            builder
                .with_callback(move |observer| {
                    callback.observe(observer, |value| match value {
                        SampleValue::Counter(number) => Some(*number),
                        _ => None,
                    });
                })
                .build();
        }
        Kind::UpDownCounter => {
            let builder = meter.i64_observable_up_down_counter(family.name);
            let builder = builder.with_unit(family.unit).with_description(family.help);
            builder
                .with_callback(move |observer| {
                    callback.observe(observer, |value| match value {
                        SampleValue::UpDownCounter(number) => Some(*number),
                        _ => None,
                    });
                })
                .build();
        }
        Kind::Gauge => {
            let builder = meter.f64_observable_gauge(family.name);
            let builder = builder.with_unit(family.unit).with_description(family.help);
            builder
                .with_callback(move |observer| {
                    callback.observe(observer, |value| match value {
                        SampleValue::Gauge(number) => Some(*number),
                        _ => None,
                    });
                })
                .build();
        }
        // The recorder has the histograms. A kind that this version does not know has no
        // instrument.
        _ => {}
    }
}
