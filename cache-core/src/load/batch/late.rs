//! A batch whose load may continue in the background, as its caller sees it.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::time::Instant;

use super::late_items::LateItems;
use super::{Load, Mode};
use crate::cached_function::CachedFunction;
use crate::call_trace::CallOutcome;
use crate::codec::ErasedType;
use crate::entry::Held;
use crate::flight::FlightView;
use crate::key::Key;
use crate::late_load::{Awaited, LateLoad};
use crate::load::wait_for::Deadlines;
use crate::load_timeout::LoadTimeout;

/// How the wait of a caller for its own batch ended.
pub(crate) enum WaitedBatch {
    /// The load ended, and has left its result.
    Done,
    /// The load continues in the background, and the caller gets these values.
    Values(Vec<Option<Held>>),
    /// The load continues in the background, and some key has no value.
    TimedOut(LoadTimeout),
}

/// The call of a late batch.
pub(crate) struct LateBatch<'a> {
    pub(crate) function: &'a CachedFunction,
    pub(crate) keys: &'a [Option<Arc<Key>>],
    pub(crate) value_type: &'a dyn ErasedType,
    /// When the caller stops waiting.
    pub(crate) deadline: Option<Instant>,
}

impl Awaited for LateItems {
    fn has_waiters(&self) -> bool {
        let items = self.all();
        let mut flights = items.iter().filter_map(|item| item.flight.as_ref());
        flights.any(FlightView::has_waiters)
    }
}

/// Ends the trace of the call of a batch when the call ends, whichever way.
struct UntilCallEnds<'a>(&'a LateItems);

impl Drop for UntilCallEnds<'_> {
    fn drop(&mut self) {
        if let Some(trace) = self.0.trace() {
            trace.call_ended();
        }
    }
}

impl LateBatch<'_> {
    /// Waits for the load that this call leads, and hands the load over to the background if it
    /// takes too long.
    pub(crate) async fn wait(&self, items: &LateItems, mut late: LateLoad) -> WaitedBatch {
        let _call = UntilCallEnds(items);
        let mut deadlines = Deadlines::new(self.deadline);
        let ended = poll_fn(|cx| {
            if Pin::new(&mut late).poll(cx).is_ready() {
                return Poll::Ready(Ok(()));
            }
            if items.have_bodies_ended() {
                return Poll::Pending;
            }
            if deadlines.is_late(items.soft_deadline(), cx)
                && let Some(values) = self.values_instead(items)
            {
                return Poll::Ready(Err(Some(values)));
            }
            match deadlines.is_over(cx) {
                true => Poll::Ready(Err(self.values_instead(items))),
                false => Poll::Pending,
            }
        });
        let Err(values) = ended.await else {
            return WaitedBatch::Done;
        };
        self.function.counters.timeouts.add_one();
        if let Some(trace) = items.trace() {
            late.is_caused_by(trace.span());
            trace.answered(match values {
                Some(_) => CallOutcome::Stale,
                None => CallOutcome::TimedOut,
            });
        }
        late.detach();
        match values {
            Some(values) => WaitedBatch::Values(values),
            None => WaitedBatch::TimedOut(self.function.timed_out()),
        }
    }

    /// Returns the value of each key: its result, or a stale value that the call may get instead.
    /// `None` if some key has neither.
    fn values_instead(&self, items: &LateItems) -> Option<Vec<Option<Held>>> {
        let known = items.all().clone();
        let values = self.keys.iter().zip(known).map(|(key, item)| {
            if let Some(result) = item.result {
                return Some(result);
            }
            let key = key.as_ref()?;
            let load = Load::new(
                self.function,
                Some(Arc::clone(key)),
                self.value_type,
                Mode::JoinLate,
            );
            let of_flight = item.flight.as_ref().and_then(FlightView::stale);
            let stale = load.stale_instead(of_flight, key)?;
            Some(Some(stale.value))
        });
        values.collect()
    }
}
