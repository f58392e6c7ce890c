//! Steps of an instance: it reads its channel, answers calls, fills, and attaches to a server.

use super::config::{Protocol, UNNOTICED};
use super::state::{Lease, Link, Load, Message, Record, State};
use super::steps::Wrong;

impl Protocol {
    /// Reads the next message of the channel of an instance.
    pub(super) fn deliver(&self, next: &mut State, at: u8) {
        let now = next.now;
        let instance = &mut next.instances[usize::from(at)];
        let (number, message) = instance.inbox.remove(0);
        if let Message::Pong(sent, found) = message {
            if let Some((known, found)) = found
                && !instance.judge(known, found)
            {
                return;
            }
            let from = if self.guards.barrier_from_sent {
                sent
            } else {
                now
            };
            instance.proved = instance.proved.max(Some(from));
            return;
        }
        let is_next = match message {
            Message::Sequence => number > instance.received,
            _ => number == instance.received + 1,
        };
        if self.evictions > 0 && !is_next {
            instance.isolate();
            return;
        }
        instance.received = number;
        match message {
            Message::Key(key) => instance.invalidated(key, false),
            Message::Function => {
                instance.invalidated(0, true);
                if self.guards.epoch_forgotten {
                    instance.epoch = None;
                }
            }
            Message::History(history) => {
                instance.history = history;
                instance.epoch = None;
                instance.invalidated(0, true);
            }
            Message::Sequence | Message::Pong(..) => {}
        }
    }

    /// Answers a call from memory or from a record, or takes a lease for it.
    pub(super) fn call(&self, mut next: State, at: u8, key: u8) -> Result<Option<State>, Wrong> {
        let now = next.now;
        let index = usize::from(key);
        let instance = &next.instances[usize::from(at)];
        if let Some((version, start)) = instance.memory[index]
            && (!self.guards.fence || start >= instance.fences[index])
            && (!self.guards.barrier
                || instance
                    .proved
                    .is_some_and(|proved| now <= proved + self.bound))
        {
            return if self.is_too_old(&next, at, key, version) {
                Err(Wrong::StaleFromMemory)
            } else {
                Ok(None)
            };
        }
        let (Link::Up { server }, start) = (instance.link, instance.raised) else {
            return Ok(None);
        };
        let coherent = instance
            .proved
            .is_some_and(|proved| now <= proved + self.bound);
        let known = instance.epoch.filter(|_| coherent);
        let (known_history, links) = (instance.history, instance.links);
        let Some(store) = next.server(server).cloned() else {
            return Ok(None);
        };
        // The known epoch and history, or those that are read with the record.
        let (epoch, history) = match known {
            Some(epoch) => (Some(epoch), Some(known_history)),
            None => (store.epoch, store.history),
        };
        let instance = &mut next.instances[usize::from(at)];
        instance.epoch = epoch.or(instance.epoch);
        if let Some(record) = store.records[index]
            && (!self.guards.epoch || Some(record.epoch) == epoch)
            && (!self.guards.history || Some(record.history) == history)
        {
            instance.load = Some(Load::Read {
                key,
                version: record.version,
                start,
            });
            return if self.is_too_old(&next, at, key, record.version) {
                Err(Wrong::StaleFromServer)
            } else {
                Ok(Some(self.canonical(next)))
            };
        }
        if self.guards.lease
            && store.leases[index].is_some_and(|lease| {
                Some(lease.epoch) == store.epoch && Some(lease.history) == store.history
            })
        {
            return Ok(None);
        }
        let writes = next.primary.identity == server;
        // Without a history the server grants no lease.
        let (true, Some(history)) = (writes, store.history) else {
            return Ok(None);
        };
        let epoch = self.epoch_of_lease(&mut next, at);
        next.tokens += 1;
        let lease = Lease {
            token: next.tokens,
            epoch,
            history,
        };
        next.primary.leases[index] = Some(lease);
        next.instances[usize::from(at)].epoch = Some(epoch);
        next.instances[usize::from(at)].load = Some(Load::Leased {
            key,
            start,
            lease,
            link: links,
        });
        Ok(Some(self.canonical(next)))
    }

    pub(super) fn fill(&self, next: &mut State, at: u8) {
        let instance = &mut next.instances[usize::from(at)];
        let Some(Load::Loaded {
            key,
            start,
            lease,
            link,
            version,
        }) = instance.load.take()
        else {
            return;
        };
        instance.memory[usize::from(key)] = Some((version, start));
        let on_its_link = !self.guards.lease_on_link || instance.links == link;
        let Link::Up { server } = instance.link else {
            return;
        };
        let store = &mut next.primary;
        let index = usize::from(key);
        let held = store.leases[index].is_some_and(|held| held.token == lease.token);
        if server != store.identity || !on_its_link || self.guards.lease && !held {
            return;
        }
        if self.guards.lease
            && self.guards.lease_on_link
            && (store.epoch != Some(lease.epoch) || store.history != Some(lease.history))
        {
            return;
        }
        let current = store.history.filter(|_| !self.guards.lease_on_link);
        store.records[index] = Some(Record {
            version,
            epoch: lease.epoch,
            history: current.unwrap_or(lease.history),
        });
        store.leases[index] = None;
    }

    pub(super) fn attach(&self, next: &mut State, at: u8) {
        let Link::Subscribed { server } = next.instances[usize::from(at)].link else {
            return;
        };
        if next.primary.identity != server {
            next.instances[usize::from(at)].disconnect();
            return;
        }
        if self.guards.fence_on_attach {
            next.instances[usize::from(at)].invalidated(0, true);
        }
        self.begin_sequence(next, 0);
        let is_another = next.primary.begun_on != server || next.primary.history.is_none();
        if self.guards.history && is_another {
            next.histories += 1;
            let fresh = next.histories;
            next.primary.history = Some(fresh);
            next.primary.begun_on = server;
            self.publish(next, Message::History(fresh), 0);
        }
        let (history, sequence) = (next.primary.history, next.primary.sequence);
        let instance = &mut next.instances[usize::from(at)];
        instance.link = Link::Up { server };
        instance.history = history.unwrap_or(0);
        instance.epoch = None;
        if self.evictions > 0 {
            // The instance has read all messages that precede the reply.
            instance.inbox.clear();
            instance.received = sequence.unwrap_or(0);
        }
    }

    /// Sends a message with the next number. The publisher has received messages up to `received`.
    pub(super) fn publish(&self, next: &mut State, message: Message, received: u8) {
        self.begin_sequence(next, received);
        let number = next.primary.sequence.map(|last| last + 1);
        next.primary.sequence = number;
        next.send(number.unwrap_or(0), message);
    }

    pub(super) fn is_too_old(&self, state: &State, at: u8, key: u8, version: u8) -> bool {
        let bound = match state.old {
            Some(_) => self.bound + UNNOTICED,
            None if at == 0 && self.failovers == 0 => 0,
            None => self.bound,
        };
        state.acknowledged.iter().any(|(of, newer, when)| {
            *of == key && *newer > version && (state.now > when + bound || at == 0 && bound == 0)
        })
    }
}
