//! The loads of a batch: the keys of one call that takes several.
//!
//! Each key has a [`Load`] of its own, which takes the steps of a single call; see
//! [`gather`](super::gather) for how their operations on the tiers become few. The batch runs the
//! body once for all keys that are ready for it. A key is ready when its load leads a flight and
//! has its leases, so these are the keys that no other call loads.
//!
//! The body begins as soon as no load of the batch waits for a tier. It does not wait for the loads
//! that wait for other callers, whose loads run beside it. So whatever a batch leads is loaded
//! before the batch waits for anything, and two batches cannot wait for each other in a ring, in
//! one process or in two. A load that has waited without success, because the other caller was
//! dropped or has failed, becomes ready later, and the body runs again for those that do.
//!
//! A load that waits for another caller of this instance is not polled while the body runs. If it
//! took the lead of a flight then, a body that awaits the same key would wait for its own call. A
//! load that leads a flight already, and waits for another instance, is polled.

mod item;
mod late;
mod late_items;

use std::future::poll_fn;
use std::sync::Arc;
use std::task::{Context, Poll};

pub(crate) use self::item::Share;
use self::item::{Item, ItemResult, prepare};
pub(crate) use self::late::{LateBatch, WaitedBatch};
pub(crate) use self::late_items::LateItems;

use super::gather::{Gather, Operation};
use super::{BodyLimit, Failure, FirstRead, Held, Load, Loaded, Mode, Revalidated, Running};
use crate::cached_function::CachedFunction;
use crate::caching::{BodyNotes, BodyScope};
use crate::codec::ErasedType;
use crate::flight::{Detached, HeldLeases, LoadScope};
use crate::key::Key;
use crate::outcome::LoadOutcome;
use crate::trace::{BatchSpan, BodySpan, CallScope};

/// The loads of a batch.
pub(crate) struct Items<'a> {
    function: &'a CachedFunction,
    gather: &'a Gather,
    items: Vec<Item<'a>>,
    /// Set if the body runs for all keys at once.
    runs_all_at_once: bool,
    /// Set for a batch that may continue in the background.
    late: Option<(Arc<LateItems>, Detached)>,
    /// The numbers of keys whose values a load in the background is to replace.
    revalidated: Vec<(usize, Revalidated)>,
    /// The operations on tiers that are in progress.
    operations: Vec<Operation<'a>>,
    /// The span of the body that runs.
    body_span: BodySpan,
}

/// The next step of a batch.
pub(crate) enum BatchStep {
    /// It runs its body for the keys with these numbers.
    Run(Vec<usize>),
    /// Each key has its result.
    Ended,
    /// A key [failed](Items::failed) without a body of this call.
    Failed,
}

impl<'a> Items<'a> {
    /// Makes the loads of some keys, each after its first read. A key that is `None` is loaded and
    /// not kept.
    pub(crate) fn new(
        (function, gather): (&'a CachedFunction, &'a Gather),
        keys: impl IntoIterator<Item = (Option<Arc<Key>>, FirstRead)>,
        value_type: &'a dyn ErasedType,
        mode: Mode,
        share: Share<'a>,
    ) -> Self {
        let items = keys.into_iter().enumerate();
        let items = items.map(|(number, (key, first))| {
            let mut begun = match first {
                FirstRead::Found(value) => return Item::Ended(ItemResult::Value(value)),
                FirstRead::Load(begun) => begun,
            };
            if let Some(trace) = begun.trace.take() {
                let _ = gather.trace.set(trace);
            }
            let load = Load::new(function, key, value_type, mode).after_first_read(begun);
            let load = load.in_batch(gather.place(number));
            Item::Preparing(Box::pin(prepare(load, share, None)))
        });
        let items: Vec<_> = items.collect();
        // Nothing is read before a refresh.
        if mode == Mode::Refresh
            && let Some(trace) = BatchSpan::begin(function.name(), items.len())
        {
            let _ = gather.trace.set(trace);
        }
        Self::of((function, gather), items)
    }

    /// Makes the loads of some keys that may continue in the background, where `late` says so.
    pub(crate) fn late(
        (function, gather): (&'a CachedFunction, &'a Gather),
        keys: impl IntoIterator<Item = (Option<Arc<Key>>, FirstRead)>,
        value_type: &'a dyn ErasedType,
        share: Share<'a>,
        late: (Arc<LateItems>, Detached),
    ) -> Self {
        let items = keys.into_iter().enumerate();
        let items = items.map(|(number, (key, first))| {
            let begun = match first {
                FirstRead::Found(value) => {
                    late.0.ended(number, value.clone());
                    return Item::Ended(ItemResult::Value(value));
                }
                FirstRead::Load(begun) => begun,
            };
            let load = Load::new(function, key, value_type, Mode::JoinLate);
            let load = load.after_first_read(begun);
            let load = load.in_batch(gather.place(number));
            let load = load.detached_by(late.1.clone());
            let known = Some((Arc::clone(&late.0), number));
            Item::Preparing(Box::pin(prepare(load, share, known)))
        });
        let mut items = Self::of((function, gather), items.collect());
        if let Some(trace) = late.0.trace() {
            let _ = gather.trace.set(trace.clone());
        }
        items.late = Some(late);
        items
    }

    /// Makes the loads of values that are replaced in the background.
    pub(crate) fn revalidating(
        (function, gather): (&'a CachedFunction, &'a Gather),
        keys: impl IntoIterator<Item = (Arc<Key>, Revalidated)>,
        value_type: &'a dyn ErasedType,
    ) -> Self {
        let detached = Detached::default();
        detached.set();
        let items = keys.into_iter().enumerate();
        let items = items.map(|(number, (key, revalidated))| {
            let load = Load::new(function, Some(key), value_type, Mode::JoinLate);
            let load = load.in_batch(gather.place(number)).replacing(revalidated);
            let mut load = load.detached_by(detached.clone());
            Item::Preparing(Box::pin(async move {
                let step = load.revalidate().await;
                (load, step)
            }))
        });
        Self::of((function, gather), items.collect())
    }

    fn of((function, gather): (&'a CachedFunction, &'a Gather), items: Vec<Item<'a>>) -> Self {
        Self {
            function,
            gather,
            items,
            runs_all_at_once: false,
            late: None,
            revalidated: Vec::new(),
            operations: Vec::new(),
            body_span: BodySpan::none(),
        }
    }

    /// Runs the body once every key is ready for it. None of them may wait for another caller.
    pub(crate) fn run_all_at_once(&mut self) {
        self.runs_all_at_once = true;
    }

    /// Continues until the body is to run for some keys, at most `most`, or until each key has its
    /// result.
    pub(crate) async fn next(&mut self, most: usize) -> BatchStep {
        poll_fn(|cx| {
            self.poll(cx);
            if self.is_busy() {
                return Poll::Pending;
            }
            if self.failed().is_some() {
                return Poll::Ready(BatchStep::Failed);
            }
            let ready = self.numbers(|item| matches!(item, Item::Ready(_)));
            if !ready.is_empty() {
                return Poll::Ready(BatchStep::Run(ready.into_iter().take(most).collect()));
            }
            match self.items.iter().all(Item::has_ended) {
                true => Poll::Ready(BatchStep::Ended),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Polls the loads that wait for tiers or for other callers, and the tiers.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) {
        self.poll_those(cx, |this, number| !this.items[number].has_ended());
    }

    /// Polls the loads that lead a flight and the values that are being stored, while a body runs.
    pub(crate) fn poll_beside_body(&mut self, cx: &mut Context<'_>) {
        self.poll_those(cx, Self::runs_beside_body);
    }

    fn runs_beside_body(&self, number: usize) -> bool {
        match &self.items[number] {
            Item::Storing(_) => true,
            Item::Preparing(_) => self.gather.led(number).is_some(),
            Item::Ready(_) | Item::Ended(_) => false,
        }
    }

    fn poll_those(&mut self, cx: &mut Context<'_>, is_meant: fn(&Self, usize) -> bool) {
        let scope = self.trace().map_or_else(CallScope::none, BatchSpan::scope);
        scope.run(|| {
            loop {
                self.poll_items(cx, is_meant);
                // Each load was polled once before, and leads its flight if it can.
                self.leave_others();
                self.operations
                    .extend(self.gather.operations(self.function));
                let pending = self.operations.len();
                self.operations
                    .retain_mut(|operation| operation.as_mut().poll(cx).is_pending());
                if self.operations.len() == pending {
                    return;
                }
            }
        });
    }

    /// Returns the span of the call, until the batch is handed over to the background.
    fn trace(&self) -> Option<&BatchSpan> {
        let is_detached = |(_, detached): &(_, Detached)| detached.is_set();
        let trace = self.gather.trace.get();
        trace.filter(|_| !self.late.as_ref().is_some_and(is_detached))
    }

    /// Returns `true` if a body that begins now would begin without a key that is ready soon.
    fn is_busy(&self) -> bool {
        let is_preparing = |item: &Item<'_>| matches!(item, Item::Preparing(_));
        self.gather.is_busy() || self.runs_all_at_once && self.items.iter().any(is_preparing)
    }

    fn poll_items(&mut self, cx: &mut Context<'_>, is_meant: fn(&Self, usize) -> bool) {
        for number in 0..self.items.len() {
            if !is_meant(self, number) {
                continue;
            }
            let item = &mut self.items[number];
            if let Some(revalidated) = item.poll(cx) {
                self.revalidated.push((number, revalidated));
            }
            if let (Some((late, _)), Item::Ended(ItemResult::Value(value))) = (&self.late, &*item) {
                late.ended(number, value.clone());
            }
        }
    }

    /// Ends the waits for other callers once the batch was handed over to the background: no caller
    /// needs their results.
    fn leave_others(&mut self) {
        let Some((late, _)) = self.late.as_ref().filter(|(_, detached)| detached.is_set()) else {
            return;
        };
        for (number, item) in self.items.iter_mut().enumerate() {
            if matches!(item, Item::Preparing(_)) && !late.is_led(number) {
                *item = Item::Ended(ItemResult::Nothing);
            }
        }
    }

    /// Takes the numbers of the keys whose values a load in the background is to replace.
    pub(crate) fn take_revalidated(&mut self) -> Vec<(usize, Revalidated)> {
        std::mem::take(&mut self.revalidated)
    }

    fn numbers(&self, is_meant: impl Fn(&Item<'a>) -> bool) -> Vec<usize> {
        let items = self.items.iter().enumerate();
        let meant = items.filter(|(_, item)| is_meant(item));
        meant.map(|(number, _)| number).collect()
    }

    /// Returns the scope in which the body runs for the keys with these numbers, and its limit. The
    /// decisions of the body concern each of these keys.
    ///
    /// The flights of later bodies belong to the scope as well, because they end no sooner than
    /// this body: a call inside it must not wait for them.
    pub(crate) fn scope(
        &mut self,
        numbers: &[usize],
        can_time_out: bool,
    ) -> (BodyScope, BodyLimit) {
        let notes = BodyNotes::new(None, self.function.is_tagged());
        let others = self.items.iter().enumerate();
        let others = others.filter_map(|(number, item)| match item {
            Item::Ready(load) if !numbers.contains(&number) => {
                load.running.as_ref().map(Running::led)
            }
            Item::Preparing(_) => Some((self.gather.led(number)?, HeldLeases::default())),
            _ => None,
        });
        let mut led: Vec<_> = others.collect();
        let mut limit = None;
        let mut detached = None;
        let mut is_kept = false;
        for number in numbers {
            let Item::Ready(load) = &mut self.items[*number] else {
                continue;
            };
            limit = limit.or_else(|| Some(load.body_limit(can_time_out)));
            detached = detached.or_else(|| load.detached.clone());
            load.body_begins();
            if let Some(running) = &load.running {
                load.notes = Some(Arc::clone(&notes));
                led.push(running.led());
                is_kept = true;
            }
        }
        let kept = is_kept.then_some(notes);
        let call = self.trace().map_or_else(CallScope::none, BatchSpan::scope);
        self.body_span = BodySpan::begin(&call, self.function.name());
        if let Some(span) = self.body_span.span() {
            span.record("cache.keys", numbers.len());
        }
        let scope = BodyScope::new(LoadScope::of(led, detached.as_ref()), kept);
        let scope = scope.in_span(self.body_span.span());
        (scope, limit.unwrap_or_else(BodyLimit::none))
    }

    /// Ends the load of a key with what the body returned for it. `None`: it found nothing.
    pub(crate) fn finish(&mut self, number: usize, loaded: Option<Loaded>) {
        let body_span = &mut self.body_span;
        self.items[number].replace(|item| match item {
            Item::Ready(mut load) => {
                load.end_of_body(loaded.is_some())
                    .end_of_batch()
                    .end(body_span);
                // Not when the value is stored: those of other keys may come first.
                load.body_returned(loaded.is_some());
                Item::Storing(Box::pin(async move { load.finish(loaded).await }))
            }
            item => item,
        });
    }

    /// Ends the loads of the keys with these numbers, whose body failed. Returns `true` if each of
    /// the keys has a stale value that takes the place of the result.
    pub(crate) fn fail(&mut self, numbers: &[usize], mut failure: impl FnMut() -> Failure) -> bool {
        let mut are_served = true;
        let body_span = &mut self.body_span;
        let mut failure = || {
            let failure = failure();
            failure.end_of_body().end(body_span);
            failure
        };
        for number in numbers {
            self.items[*number].replace(|item| match item {
                Item::Ready(mut load) => Item::Ended(match load.fail(failure()) {
                    Some(stale) => ItemResult::Value(Some(stale)),
                    None => {
                        are_served = false;
                        ItemResult::Nothing
                    }
                }),
                item => item,
            });
        }
        are_served
    }

    /// Ends the loads that have no result yet, because the call has failed. The values that were
    /// loaded before are stored nevertheless.
    pub(crate) async fn give_up(&mut self) {
        for item in &mut self.items {
            if let Item::Preparing(_) | Item::Ready(_) | Item::Ended(ItemResult::Failed(_)) = item {
                *item = Item::Ended(ItemResult::Nothing);
            }
        }
        poll_fn(|cx| {
            self.poll(cx);
            match self.items.iter().all(Item::has_ended) {
                true => Poll::Ready(()),
                false => Poll::Pending,
            }
        })
        .await;
    }

    /// Returns the outcome of a key that failed without a body of this call.
    pub(crate) fn failed(&self) -> Option<&LoadOutcome> {
        self.items.iter().find_map(|item| match item {
            Item::Ended(ItemResult::Failed(outcome)) => Some(outcome),
            _ => None,
        })
    }

    /// Returns the values of the keys, in order.
    pub(crate) fn into_values(self) -> Vec<Option<Held>> {
        let items = self.items.into_iter();
        let values = items.map(|item| match item {
            Item::Ended(ItemResult::Value(value)) => value,
            _ => None,
        });
        values.collect()
    }
}
