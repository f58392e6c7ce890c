//! A view of a flight for a caller that neither leads it nor waits for it.

use std::fmt;
use std::sync::Arc;

use tokio::time::Instant;

use super::table::{Flight, Phase};
use crate::fence::TagStripes;
use crate::stale::StaleValue;
use crate::sync::lock;

/// A view of a flight whose [`Leader`](super::Leader) is elsewhere: in a future that runs the load.
#[derive(Clone)]
pub(crate) struct FlightView(pub(super) Arc<Flight>);

impl FlightView {
    /// Returns `true` if other callers wait for the load that the leader runs.
    ///
    /// A caller may join right after this returned `false`. It does not hang: when the leader is
    /// dropped, that caller takes the lead.
    pub(crate) fn has_waiters(&self) -> bool {
        let state = lock(&self.0.state);
        matches!(state.phase, Phase::Led) && !state.waiters.is_empty()
    }

    /// Returns `true` if the body of the load has returned.
    pub(crate) fn has_body_ended(&self) -> bool {
        lock(&self.0.state).has_body_ended
    }

    /// Returns `true` if an async task runs the load.
    pub(crate) fn is_of_a_task(&self) -> bool {
        self.0.is_of_a_task
    }

    /// Returns when callers stop to wait if there is a stale value, if the leader has set it.
    pub(crate) fn soft_deadline(&self) -> Option<Instant> {
        lock(&self.0.state).soft_deadline
    }

    /// Returns the number of the fences when the load began, and the fences of the tags that its
    /// result has.
    pub(crate) fn start_and_tags(&self) -> (u64, TagStripes) {
        let state = lock(&self.0.state);
        (state.start, state.tags.clone())
    }

    /// Returns the stale value that the leader offered last.
    pub(crate) fn stale(&self) -> Option<StaleValue> {
        lock(&self.0.state).stale.clone()
    }
}

impl fmt::Debug for FlightView {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("FlightView").field(&self.0.id).finish()
    }
}
