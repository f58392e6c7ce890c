//! Effects of the steps.

use super::config::{INSTANCES, Ledger, Wrong};
use super::message::Message;
use super::state::{Needed, State};
use super::steps::Step;

impl Ledger {
    /// Returns the state after a step, or `None` if the step changes nothing.
    pub(super) fn after(&self, state: &State, step: Step) -> Result<Option<State>, Wrong> {
        let mut next = state.clone();
        let has_changed = match step {
            Step::Commit => {
                next.truth += 1;
                true
            }
            Step::InvalidateTag(_)
            | Step::InvalidateOther(_)
            | Step::Expire(_)
            | Step::SendQueued(_)
            | Step::Acknowledge(_)
            | Step::Queue(..) => self.invalidate(&mut next, step),
            Step::BeginLoad(at) => self.begin_load(&mut next, at)?,
            Step::Fill(at) => self.fill(&mut next, at),
            Step::Deliver(at) => self.deliver(&mut next, at),
            Step::Barrier(at) => {
                let Needed { hard, soft } = next.acknowledged;
                next.at(at).inbox.push(Message::Pong { hard, soft });
                true
            }
            Step::LoadMirror(at) => {
                let server = next.server;
                next.at(at).mirror.load(&server, &self.guards);
                true
            }
            Step::ReadMemory(at) => self.read_memory(&next, at)?,
            Step::ReadMirror(at) => self.read_mirror(&mut next, at)?,
            Step::ReadStore(at) => self.read_store(&mut next, at),
            Step::FinishRead(at) => self.finish_read(&mut next, at)?,
            Step::Evict
            | Step::EvictOld
            | Step::Flush
            | Step::Break(_)
            | Step::Connect(_)
            | Step::Replicate
            | Step::Failover => {
                self.fail(&mut next, step);
                true
            }
            Step::Recover => {
                self.recover(state)?;
                false
            }
        };
        Ok(has_changed.then(|| next.canonical()))
    }

    /// Something is lost, or comes back.
    fn fail(&self, next: &mut State, step: Step) {
        let left = &mut next.left;
        match step {
            Step::Evict => {
                left.evictions -= 1;
                next.server.ledger = None;
            }
            Step::EvictOld => {
                left.old_evictions -= 1;
                next.server.old = None;
            }
            Step::Flush => {
                left.flushes -= 1;
                let server = &mut next.server;
                (server.ledger, server.old) = (None, None);
                (server.record, server.lease) = (None, None);
            }
            Step::Break(at) => {
                left.breaks -= 1;
                self.disconnect(next, at);
            }
            Step::Connect(at) => {
                next.at(at).linked = true;
                // Invalidations before the link was subscribed may have been missed.
                next.at(at).void();
            }
            Step::Replicate => next.replica = Some(next.server),
            Step::Failover => {
                left.failovers -= 1;
                if let Some(replica) = next.replica {
                    next.server = replica;
                }
                next.server.history += u8::from(self.guards.history);
                next.replica = (next.left.failovers > 0).then_some(next.server);
                for at in 0..INSTANCES as u8 {
                    self.disconnect(next, at);
                }
            }
            _ => {}
        }
    }

    fn disconnect(&self, next: &mut State, at: u8) {
        if next.server.lease == Some(at) {
            // It ends some time after its link.
            next.server.lease = None;
        }
        if next.at(at).linked {
            next.at(at).disconnect(!self.guards.of_link);
        }
    }
}
