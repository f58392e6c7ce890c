//! The spans of a test: their names, fields, parents and causes.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;

use crate::log::keep_second_dispatch;

/// Spans and events of a test. Clones are the same record.
#[derive(Clone, Debug, Default)]
pub struct Spans(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    spans: Vec<Seen>,
    /// The place of each open span in `spans`.
    open: HashMap<u64, usize>,
    /// The fields of events.
    events: Vec<BTreeMap<String, String>>,
}

/// A span that was seen.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Seen {
    /// Its name.
    pub name: &'static str,
    /// Its target.
    pub target: &'static str,
    /// Its level.
    pub level: Level,
    /// The fields that have a value.
    pub fields: BTreeMap<String, String>,
    /// The place of the span around it, in the order in which spans began.
    pub parent: Option<usize>,
    /// The places of the spans from which it follows.
    pub causes: Vec<usize>,
    /// Set once it has ended.
    pub is_closed: bool,
}

impl Seen {
    /// Returns the value of a field, empty if it has none.
    pub fn field(&self, name: &str) -> &str {
        self.fields.get(name).map_or("", String::as_str)
    }
}

impl Spans {
    /// Records the spans of this thread up to a level, until the guard is dropped. As for
    /// [`Log::capture`](crate::log::Log::capture), use it in a single-threaded runtime.
    #[must_use]
    pub fn capture(&self, level: Level) -> tracing::subscriber::DefaultGuard {
        keep_second_dispatch();
        // A filter of the layer alone would miss spans: it remembers the answer about a span that
        // was not enabled until the next one.
        let filter = LevelFilter::from_level(level);
        let registry = tracing_subscriber::registry().with(filter);
        tracing::subscriber::set_default(registry.with(Recorder(self.clone())))
    }

    /// Returns the spans in the order in which they began.
    pub fn all(&self) -> Vec<Seen> {
        self.lock().spans.clone()
    }

    /// Returns the names of the spans in the order in which they began.
    pub fn names(&self) -> Vec<&'static str> {
        self.lock().spans.iter().map(|span| span.name).collect()
    }

    /// Returns the spans of this name.
    pub fn named(&self, name: &str) -> Vec<Seen> {
        let spans = self.all().into_iter();
        spans.filter(|span| span.name == name).collect()
    }

    /// Returns the only span of this name.
    pub fn only(&self, name: &str) -> Seen {
        let [span] = &self.named(name)[..] else {
            panic!("there is not one span {name}: {:?}", self.names());
        };
        span.clone()
    }

    /// Returns `true` if a field of a span or of an event contains `text`.
    pub fn mention(&self, text: &str) -> bool {
        let state = self.lock();
        let of_spans = state.spans.iter().map(|span| &span.fields);
        let mut all = of_spans.chain(&state.events);
        all.any(|fields| fields.values().any(|value| value.contains(text)))
    }

    /// Returns `true` if each span has been closed.
    pub fn are_closed(&self) -> bool {
        self.lock().spans.iter().all(|span| span.is_closed)
    }

    /// Forgets what was seen. No span may be open.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Recorder(Spans);

struct Fields<'a>(&'a mut BTreeMap<String, String>);

impl Visit for Fields<'_> {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), value.to_owned());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.0.insert(field.name().to_owned(), format!("{value:?}"));
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Recorder {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        attributes.record(&mut Fields(&mut fields));
        let parent = context.span(id).and_then(|span| Some(span.parent()?.id()));
        let metadata = attributes.metadata();
        let mut state = self.0.lock();
        let parent = parent.and_then(|parent| state.open.get(&parent.into_u64()).copied());
        let place = state.spans.len();
        state.open.insert(id.into_u64(), place);
        state.spans.push(Seen {
            name: metadata.name(),
            target: metadata.target(),
            level: *metadata.level(),
            fields,
            parent,
            causes: Vec::new(),
            is_closed: false,
        });
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, _: Context<'_, S>) {
        let mut state = self.0.lock();
        if let Some(place) = state.open.get(&id.into_u64()).copied() {
            values.record(&mut Fields(&mut state.spans[place].fields));
        }
    }

    fn on_follows_from(&self, id: &Id, cause: &Id, context: Context<'_, S>) {
        assert!(
            context.span(cause).is_some(),
            "a span follows from one that has ended"
        );
        let mut state = self.0.lock();
        let open = |id: &Id| state.open.get(&id.into_u64()).copied();
        if let (Some(place), Some(cause)) = (open(id), open(cause)) {
            state.spans[place].causes.push(cause);
        }
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = BTreeMap::new();
        event.record(&mut Fields(&mut fields));
        self.0.lock().events.push(fields);
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        let mut state = self.0.lock();
        if let Some(place) = state.open.remove(&id.into_u64()) {
            state.spans[place].is_closed = true;
        }
    }
}
