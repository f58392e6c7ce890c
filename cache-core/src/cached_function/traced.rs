//! The spans and the events of changes of a function, and its keys in spans.

use tracing::Span;

use super::CachedFunction;
use crate::events::{Concerns, EventKind, EventOrigin, EventScope};
use crate::key::Key;
use crate::level::Level;
use crate::trace::Change;

impl CachedFunction {
    /// Notes an event of the function, and of the key with this digest if it is of one.
    pub(crate) fn note(&self, tier: Option<Level>, key: Option<u64>, kind: EventKind) {
        let concerns = Concerns {
            tier,
            function: Some(self.function_digest()),
            key,
        };
        self.state.events.note(concerns, kind);
    }

    pub(super) fn note_invalidated(&self, scope: EventScope, key: Option<u64>) {
        let by = EventOrigin::Here;
        self.note(None, key, EventKind::Invalidated { scope, by });
    }

    pub(super) fn note_expired(&self, scope: EventScope, key: Option<u64>) {
        let by = EventOrigin::Here;
        self.note(None, key, EventKind::Expired { scope, by });
    }

    /// Returns a key as spans show it, if they show keys.
    pub(crate) fn key_in_traces(&self, key: &Key) -> Option<String> {
        let is_shown = self.state.defaults.keys_in_traces;
        is_shown.then(|| self.record_key(key).arguments)
    }

    /// Begins the span of a change that concerns several keys.
    pub(super) fn change(&self, operation: &'static str, scope: &'static str) -> Span {
        self.begin_change(operation, scope).span(|| None)
    }

    /// Begins the span of a change of one key.
    pub(crate) fn change_of_key(&self, operation: &'static str, key: &Key) -> Span {
        let change = self.begin_change(operation, "key");
        change.span(|| self.key_in_traces(key))
    }

    fn begin_change(&self, operation: &'static str, scope: &'static str) -> Change<'_> {
        Change {
            operation,
            scope,
            function: Some(self.name()),
        }
    }
}
