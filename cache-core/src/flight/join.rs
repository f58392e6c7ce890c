//! How a caller joins a flight, or begins one.

use std::collections::BTreeMap;
use std::sync::Arc;

use tracing::Span;

use super::deadlock::FlightId;
use super::leader::Leader;
use super::table::{Flight, Flights, Phase, Shard, State};
use super::view::FlightView;
use super::waiter::Waiter;
use crate::clock::Moment;
use crate::fence::{Fences, TagStripes};
use crate::key::Key;
use crate::sync::{Mutex, lock};
use crate::trace;

/// How a caller takes part in a flight.
pub(crate) enum Join {
    /// It runs the load.
    Lead(Leader),
    /// It waits for the caller that runs the load.
    Wait(Waiter),
}

impl Flights {
    /// Joins the flight of `key`, or begins one at `now`. `may_join` says whether a flight in
    /// progress may be joined, given the number of its load and when the load began.
    pub(crate) fn join(
        self: &Arc<Self>,
        key: &Key,
        fences: &Fences,
        now: Moment,
        may_join: impl Fn(u64, Moment) -> bool,
    ) -> Join {
        let span = trace::current();
        let mut shard = lock(self.shard(key));
        if let Some(flight) = shard.get(key)
            && let Some(id) = flight.admit(may_join)
        {
            return Join::Wait(Waiter {
                flights: Arc::clone(self),
                flight: Arc::clone(flight),
                id: Some(id),
            });
        }
        Join::Lead(self.begin(&mut shard, key, (fences.now(), now), span, false))
    }

    /// Returns the flight of `key` in progress, if it may be joined, as in [`join`](Self::join).
    pub(crate) fn view(
        &self,
        key: &Key,
        may_join: impl Fn(u64, Moment) -> bool,
    ) -> Option<FlightView> {
        let flight = lock(self.shard(key)).get(key).cloned();
        let flight = flight.filter(|flight| flight.may_be_joined(may_join));
        flight.map(FlightView)
    }

    /// Begins a flight whether or not there is one, with a larger number. Waiters of an older
    /// flight still get the value of that one.
    ///
    /// `replaces` says that the value replaces what the tiers have, as that of a refresh or a put
    /// does.
    pub(crate) fn lead(
        self: &Arc<Self>,
        key: &Key,
        fences: &Fences,
        now: Moment,
        replaces: bool,
    ) -> Leader {
        let span = trace::current();
        let mut shard = lock(self.shard(key));
        let leader = self.begin(&mut shard, key, (fences.next(), now), span, true);
        lock(&leader.flight.state).replaces = replaces;
        leader
    }

    fn begin(
        self: &Arc<Self>,
        shard: &mut Shard,
        key: &Key,
        (start, began): (u64, Moment),
        span: Span,
        is_of_a_task: bool,
    ) -> Leader {
        let flight = Arc::new(Flight {
            id: FlightId::next(),
            key: key.clone(),
            is_of_a_task,
            state: Mutex::new(State {
                start,
                began,
                phase: Phase::Led,
                is_invalidated: false,
                is_outdated: false,
                replaces: false,
                has_body_ended: false,
                span,
                stale: None,
                tags: TagStripes::default(),
                soft_deadline: None,
                waiters: BTreeMap::new(),
                next_waiter: 0,
                failed_before: 0,
            }),
        });
        shard.insert(key.clone(), Arc::clone(&flight));
        Leader {
            flights: Arc::clone(self),
            flight,
            ended: false,
        }
    }
}
