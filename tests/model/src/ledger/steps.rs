//! Steps of the instances and of the server, and which of them are possible.

use super::config::{INSTANCES, Ledger};
use super::message::Message;
use super::mirror::Mirror;
use super::state::State;

/// A step. The number is that of an instance.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The truth changes.
    Commit,
    /// The server invalidates the tag of the record.
    InvalidateTag(u8),
    /// The server invalidates another tag.
    InvalidateOther(u8),
    /// The server expires the key of the record.
    Expire(u8),
    /// The reply to an invalidation or an expiry arrives.
    Acknowledge(u8),
    /// An instance without a link invalidates the tag, or more tags than it can queue.
    Queue(u8, bool),
    /// The server executes the queued invalidation.
    SendQueued(u8),
    /// An instance gets a lease and loads the truth.
    BeginLoad(u8),
    /// An instance stores what it has loaded.
    Fill(u8),
    /// A message is applied.
    Deliver(u8),
    /// The server replies to a barrier.
    Barrier(u8),
    /// A load of the mirror continues.
    LoadMirror(u8),
    /// A call is answered from memory.
    ReadMemory(u8),
    /// A call is answered with the record, which the mirror judges.
    ReadMirror(u8),
    /// A call reads the record and one generation of the ledger.
    ReadStore(u8),
    /// It reads the other generation, and is answered.
    FinishRead(u8),
    /// The current generation is evicted.
    Evict,
    /// The older generation is evicted.
    EvictOld,
    /// All data is removed.
    Flush,
    /// A link is lost.
    Break(u8),
    /// A link is made.
    Connect(u8),
    /// The replica catches up.
    Replicate,
    /// The replica takes the place of the server.
    Failover,
    /// Nothing fails any more: a record can be stored and returned.
    Recover,
}

impl Ledger {
    /// Adds the steps that can happen next.
    pub(super) fn possible(&self, state: &State, steps: &mut Vec<Step>) {
        for at in 0..INSTANCES as u8 {
            self.steps_of(state, at, steps);
        }
        if state.truth < self.commits {
            steps.push(Step::Commit);
        }
        let (left, server) = (&state.left, &state.server);
        let events = [
            (left.evictions > 0 && server.ledger.is_some(), Step::Evict),
            (
                left.old_evictions > 0 && server.old.is_some(),
                Step::EvictOld,
            ),
            (left.flushes > 0, Step::Flush),
            (left.failovers > 0, Step::Failover),
            (
                state.replica.is_some_and(|replica| replica != *server) && left.failovers > 0,
                Step::Replicate,
            ),
            (self.recovers, Step::Recover),
        ];
        steps.extend(events.iter().filter(|event| event.0).map(|event| event.1));
    }

    fn steps_of(&self, state: &State, at: u8, steps: &mut Vec<Step>) {
        let instance = &state.instances[usize::from(at)];
        let left = &state.left;
        let is_new = state.truth > instance.own.hard;
        if self.writers.contains(&at) {
            let may_send = instance.linked && instance.sent.is_none();
            let may_tag = may_send && instance.queued.is_none() && is_new && left.tags > 0;
            let may_expire = may_send && is_new && state.truth > instance.own.soft;
            let may_queue = instance.sent.is_none() && instance.queued.is_none() && is_new;
            let own = [
                (may_tag, Step::InvalidateTag(at)),
                (may_send && left.others > 0, Step::InvalidateOther(at)),
                (may_expire && left.expiries > 0, Step::Expire(at)),
                (may_queue && left.queued > 0, Step::Queue(at, false)),
                (may_queue && left.overflows > 0, Step::Queue(at, true)),
                (may_send && instance.queued.is_some(), Step::SendQueued(at)),
                (instance.sent.is_some(), Step::Acknowledge(at)),
            ];
            steps.extend(own.iter().filter(|step| step.0).map(|step| step.1));
        }
        if !instance.linked {
            steps.push(Step::Connect(at));
            return;
        }
        if left.breaks > 0 {
            steps.push(Step::Break(at));
        }
        match instance.load {
            Some(_) => steps.push(Step::Fill(at)),
            None if self.loaders.contains(&at) => steps.push(Step::BeginLoad(at)),
            None => {}
        }
        if !instance.inbox.is_empty() {
            steps.push(Step::Deliver(at));
        }
        if self.strong.contains(&at) {
            steps.push(match instance.read {
                Some(_) => Step::FinishRead(at),
                None => Step::ReadStore(at),
            });
        }
        if !self.readers.contains(&at) {
            return;
        }
        let is_behind = instance.proved != Some(state.acknowledged);
        let is_asked = |message: &Message| matches!(message, Message::Pong { .. });
        if is_behind && !instance.inbox.iter().any(is_asked) {
            steps.push(Step::Barrier(at));
        }
        if !matches!(instance.mirror, Mirror::Known(_)) {
            steps.push(Step::LoadMirror(at));
        }
        steps.extend([Step::ReadMemory(at), Step::ReadMirror(at)]);
    }
}
