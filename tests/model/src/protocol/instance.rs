//! Steps of an instance: it reads its channel, and attaches to a server.

use super::config::Protocol;
use super::state::{Link, Message, State};

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
}
