//! What follows a step.

use super::*;

impl Protocol {
    /// What follows a step; `None` where nothing changes.
    ///
    /// # Errors
    /// When it must not have happened.
    pub fn take(&self, state: &State, step: Step) -> Result<Option<State>, Wrong> {
        let mut next = state.clone();
        match step {
            Step::Commit(key) => {
                next.written += 1;
                next.truth[usize::from(key)] += 1;
                next.invalidation = Some(Invalidation::Committed { key });
            }
            Step::BeginInvalidation(target) => {
                let Some(Invalidation::Committed { key }) = next.invalidation else {
                    return Ok(None);
                };
                next.instances[0].invalidated(key, target != Target::Key);
                next.invalidation = Some(Invalidation::Begun { key, target });
            }
            Step::Invalidate => {
                let Some(Invalidation::Begun { key, target }) = next.invalidation else {
                    return Ok(None);
                };
                let Link::Up { server } = next.instances[0].link else {
                    return Ok(None);
                };
                let fresh = next.fresh(target);
                let heard = next.instances[0].heard;
                // A primary that is cut off refuses writes, where it was told to.
                let Some(store) = next
                    .server(server)
                    .filter(|store| store.identity == state.primary.identity)
                else {
                    next.instances[0].disconnect();
                    return Ok(Some(self.canonical(next)));
                };
                store.invalidate(key, target, fresh);
                if self.guards.one_script {
                    self.publish(&mut next, invalidation(key, target, fresh), heard);
                    next.invalidation = Some(Invalidation::Done { key });
                } else {
                    next.invalidation = Some(Invalidation::Deleted { key, target });
                }
            }
            Step::Tell => {
                let Some(Invalidation::Deleted { key, target }) = next.invalidation else {
                    return Ok(None);
                };
                let fresh = next.histories;
                let heard = next.instances[0].heard;
                self.publish(&mut next, invalidation(key, target, fresh), heard);
                next.invalidation = Some(Invalidation::Done { key });
            }
            Step::DieBeforeTelling => {
                let Some(Invalidation::Deleted { key, .. }) = next.invalidation else {
                    return Ok(None);
                };
                next.invalidation = Some(Invalidation::Done { key });
            }
            Step::Acknowledge => {
                let Some(Invalidation::Done { key }) = next.invalidation else {
                    return Ok(None);
                };
                if self.guards.second_fence {
                    next.instances[0].invalidated(key, true);
                }
                next.instances[0].epoch = None;
                let version = next.truth[usize::from(key)];
                next.acknowledged.push((key, version, next.now));
                next.invalidation = None;
            }
            Step::Call(at, key) => return self.call(next, at, key),
            Step::Keep(at) => {
                let instance = &mut next.instances[usize::from(at)];
                if let Some(Load::Read {
                    key,
                    version,
                    start,
                }) = instance.load.take()
                {
                    instance.memory[usize::from(key)] = Some((version, start));
                }
            }
            Step::RunBody(at) => {
                let instance = &mut next.instances[usize::from(at)];
                if let Some(Load::LeaseResult {
                    key,
                    start,
                    lease,
                    link,
                }) = instance.load
                {
                    instance.load = Some(Load::Loaded {
                        key,
                        start,
                        lease,
                        link,
                        version: state.truth[usize::from(key)],
                    });
                }
            }
            Step::Fill(at) => self.fill(&mut next, at),
            Step::DropLoad(at) => next.instances[usize::from(at)].load = None,
            Step::Deliver(at) => self.deliver(&mut next, at),
            Step::Lose(at) => {
                next.broken += 1;
                next.instances[usize::from(at)].inbox.remove(0);
            }
            Step::Ping(at) => {
                let known = self.known(&state.instances[usize::from(at)]);
                next.instances[usize::from(at)].ping = Some((state.now, known));
            }
            Step::Pong(at) => {
                let found = self.found(&next, at);
                let instance = &mut next.instances[usize::from(at)];
                if let Some((sent, known)) = instance.ping.take() {
                    if self.guards.ordered_channel {
                        let found = known.zip(found);
                        instance.inbox.push((0, Message::Pong(sent, found)));
                    } else {
                        instance.proved = instance.proved.max(Some(sent));
                    }
                }
            }
            Step::Break(at) => {
                next.broken += 1;
                next.instances[usize::from(at)].disconnect();
            }
            Step::Subscribe(at) => {
                let identity = next.primary.identity;
                next.instances[usize::from(at)].link = Link::Subscribed { server: identity };
            }
            Step::Attach(at) => self.attach(&mut next, at),
            Step::LeaseEnds(key) => next.primary.leases[usize::from(key)] = None,
            Step::Evict(key) => next.evict(key),
            Step::Restore(at) => self.restore(&mut next, at),
            Step::Replicate => {
                let replicated = Server {
                    identity: next.replica.identity,
                    ..next.primary.clone()
                };
                if next.replica == replicated {
                    return Ok(None);
                }
                next.replica = replicated;
            }
            Step::Failover { lives } => next.failover(lives),
            Step::Tick => {
                next.now += 1;
                // Its heartbeats are refused by now.
                if let Some((old, since)) = &next.old
                    && self.guards.heartbeat
                    && next.now > since + UNNOTICED
                {
                    let old = old.identity;
                    for instance in &mut next.instances {
                        if instance.server() == Some(old) {
                            instance.disconnect();
                        }
                    }
                }
            }
        }
        Ok(Some(self.canonical(next)))
    }
}

fn invalidation(key: u8, target: Target, history: u8) -> Message {
    match target {
        Target::Key => Message::Key(key),
        Target::Function => Message::Function,
        Target::Namespace => Message::History(history),
    }
}
