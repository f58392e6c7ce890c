//! The load of one key of a batch.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::late_items::LateItems;
use crate::flight::Leader;
use crate::load::{Boxed, Held, Load, Revalidated, Step};
use crate::outcome::LoadOutcome;

/// The load of one key.
pub(super) enum Item<'a> {
    /// It looks for a value, takes its leases, or waits for another caller.
    Preparing(Boxed<'a, (Load<'a>, Option<Step>)>),
    /// It is to run the body.
    Ready(Box<Load<'a>>),
    /// The value is being stored.
    Storing(Boxed<'a, Option<Held>>),
    Ended(ItemResult),
}

/// How a batch shares errors.
#[derive(Clone, Copy)]
pub(crate) struct Share<'a> {
    /// Set if errors of the function can be shared at all.
    pub(crate) can_share: bool,
    /// Returns `true` if the call can return this outcome as its error.
    pub(crate) receives: &'a (dyn Fn(&LoadOutcome) -> bool + Send + Sync),
}

/// The result of one key.
pub(super) enum ItemResult {
    /// The value, or the result that there is none.
    Value(Option<Held>),
    /// An outcome that is no value: a shared or kept error, or a timeout.
    Failed(LoadOutcome),
    /// The call ended before.
    Nothing,
}

impl<'a> Item<'a> {
    pub(super) fn has_ended(&self) -> bool {
        matches!(self, Self::Ended(_))
    }

    /// Returns the value as one that a load in the background is to replace, if it ends with one.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<Revalidated> {
        let mut revalidated = None;
        match self {
            Self::Preparing(preparing) => {
                if let Poll::Ready((load, mut step)) = preparing.as_mut().poll(cx) {
                    if let Some(Step::Revalidate(_, replaced)) = &mut step {
                        revalidated = Some(std::mem::take(replaced));
                    }
                    *self = Self::after(load, step);
                }
            }
            Self::Storing(storing) => {
                if let Poll::Ready(held) = storing.as_mut().poll(cx) {
                    *self = Self::Ended(ItemResult::Value(held));
                }
            }
            Self::Ready(_) | Self::Ended(_) => {}
        }
        revalidated
    }

    fn after(load: Load<'a>, step: Option<Step>) -> Self {
        Self::Ended(match step {
            Some(Step::Run) => return Self::Ready(Box::new(load)),
            Some(Step::Completed(outcome) | Step::Revalidate(outcome, _)) => match outcome {
                LoadOutcome::Value(held) => ItemResult::Value(Some(held)),
                LoadOutcome::Stale(stale) => ItemResult::Value(Some(stale.value)),
                LoadOutcome::Absent => ItemResult::Value(None),
                outcome => ItemResult::Failed(outcome),
            },
            Some(Step::TimedOut(timeout)) => ItemResult::Failed(LoadOutcome::TimedOut(timeout)),
            Some(Step::Lead(_)) | None => ItemResult::Nothing,
        })
    }

    pub(super) fn replace(&mut self, change: impl FnOnce(Self) -> Self) {
        let item = std::mem::replace(self, Self::Ended(ItemResult::Nothing));
        *self = change(item);
    }
}

/// Takes the steps of a load up to its body.
///
/// If the load of another caller fails that this one waited for, the load continues alone: the
/// error may be about another key of that caller.
pub(super) async fn prepare<'a>(
    mut load: Load<'a>,
    share: Share<'a>,
    late: Option<(Arc<LateItems>, usize)>,
) -> (Load<'a>, Option<Step>) {
    let mut has_failed = false;
    let mut step = load.next(share.can_share).await;
    loop {
        step = match step {
            Step::Completed(LoadOutcome::Value(held)) if !load.value_type.is_of(&held) => {
                load.received_nothing();
                load.next(share.can_share).await
            }
            Step::Completed(ref outcome @ (LoadOutcome::Failed(_) | LoadOutcome::TimedOut(_)))
                if !has_failed || !(share.receives)(outcome) =>
            {
                match has_failed {
                    false => load.wait.load_failed(),
                    true => load.received_nothing(),
                }
                has_failed = true;
                load.next(share.can_share).await
            }
            Step::Lead(leader) => {
                if let Some((late, number)) = &late {
                    late.leads(*number, leader.as_ref().map(Leader::view));
                }
                load.lead_late(leader).await
            }
            step => return (load, Some(step)),
        };
    }
}
