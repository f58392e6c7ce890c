//! Effects of the steps.

use super::config::{Protocol, UNNOTICED};
use super::state::{Link, Message, Server, State};
use super::steps::{Step, Wrong};

impl Protocol {
    /// Returns the state after a step, or `None` if the step changes nothing.
    ///
    /// # Errors
    /// The step violates the protocol's promise.
    pub(super) fn after(&self, state: &State, step: Step) -> Result<Option<State>, Wrong> {
        let mut next = state.clone();
        let has_changed = match step {
            Step::Call(at, key) => return self.call(next, at, key),
            Step::CallAs(at, key, mode) => return self.call_as(next, at, key, mode),
            Step::Join(at) => self.join_call(&mut next, at),
            Step::AnswerWaiter(at) => {
                self.answer_waiter(&mut next, at)?;
                true
            }
            Step::Age(copy) => {
                self.age(&mut next, copy);
                true
            }
            Step::Commit(_)
            | Step::BeginInvalidation(_)
            | Step::Invalidate
            | Step::Publish
            | Step::DieBeforePublishing
            | Step::Acknowledge => self.invalidate(&mut next, step),
            Step::Load(at, slot, step) => {
                self.load(&mut next, (at, slot), step)?;
                true
            }
            Step::Replicate => next.replicate(),
            Step::LeaseEnds(key) => {
                next.primary.leases[usize::from(key)] = None;
                true
            }
            Step::Evict(key) => {
                next.evict(key);
                true
            }
            Step::Failover { lives } => {
                next.failover(lives);
                true
            }
            Step::Tick => {
                self.tick(&mut next);
                true
            }
            Step::Deliver(_)
            | Step::Lose(_)
            | Step::Ping(_)
            | Step::Pong(_)
            | Step::Break(_)
            | Step::Subscribe(_)
            | Step::Attach(_)
            | Step::Restore(_) => {
                self.communicate(&mut next, step);
                true
            }
        };
        Ok(has_changed.then(|| self.canonical(next)))
    }

    /// Takes a step of a link or of its channel.
    fn communicate(&self, next: &mut State, step: Step) {
        match step {
            Step::Deliver(at) => self.deliver(next, at),
            Step::Lose(at) => {
                next.broken += 1;
                next.instances[usize::from(at)].inbox.remove(0);
            }
            Step::Ping(at) => {
                let known = self.known(&next.instances[usize::from(at)]);
                next.instances[usize::from(at)].ping = Some((next.now, known));
            }
            Step::Pong(at) => self.reply_to_barrier(next, at),
            Step::Break(at) => {
                next.broken += 1;
                next.instances[usize::from(at)].disconnect();
            }
            Step::Subscribe(at) => {
                let identity = next.primary.identity;
                next.instances[usize::from(at)].link = Link::Subscribed { server: identity };
            }
            Step::Attach(at) => self.attach(next, at),
            Step::Restore(at) => self.restore(next, at),
            _ => {}
        }
    }

    fn reply_to_barrier(&self, next: &mut State, at: u8) {
        let found = self.found(next, at);
        let instance = &mut next.instances[usize::from(at)];
        let Some((sent, known)) = instance.ping.take() else {
            return;
        };
        if self.guards.ordered_channel {
            let found = known.zip(found);
            instance.inbox.push((0, Message::Pong(sent, found)));
        } else {
            instance.proved = instance.proved.max(Some(sent));
        }
    }

    fn tick(&self, next: &mut State) {
        next.now += 1;
        // From then on the old primary refuses the heartbeats of its instances.
        if let Some((old, since)) = &next.old
            && self.guards.heartbeat
            && next.now > since + UNNOTICED
        {
            let old = old.identity;
            let of_old = next.instances.iter_mut();
            of_old
                .filter(|instance| instance.server() == Some(old))
                .for_each(|instance| instance.disconnect());
        }
    }
}

impl State {
    /// The replica catches up. Returns `false` if it had caught up before.
    fn replicate(&mut self) -> bool {
        let replicated = Server {
            identity: self.replica.identity,
            ..self.primary.clone()
        };
        let has_changed = self.replica != replicated;
        self.replica = replicated;
        has_changed
    }
}
