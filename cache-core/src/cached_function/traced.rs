//! The spans of changes of a function, and its keys in spans.

use tracing::Span;

use super::CachedFunction;
use crate::key::Key;
use crate::trace::Change;

impl CachedFunction {
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
