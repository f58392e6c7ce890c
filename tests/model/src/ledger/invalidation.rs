//! Invalidations and expiries: on the server, in the instance that sends them, and in those that
//! are notified.

use super::config::{Expiry, Ledger};
use super::message::Message;
use super::server::Subject;
use super::state::{Needed, Sent, State};
use super::steps::Step;

impl Ledger {
    /// Takes a step of an invalidation or of an expiry. Returns `false` if it changes nothing.
    pub(super) fn invalidate(&self, next: &mut State, step: Step) -> bool {
        let left = &mut next.left;
        match step {
            Step::InvalidateTag(at) => {
                left.tags -= 1;
                self.send(next, at, Subject::Tag)
            }
            Step::InvalidateOther(at) => {
                left.others -= 1;
                self.send(next, at, Subject::Other)
            }
            Step::Expire(at) => {
                left.expiries -= 1;
                let subject = match self.expiry {
                    Expiry::Key => Subject::KeyExpiry,
                    Expiry::Several => Subject::Expiry,
                };
                self.send(next, at, subject)
            }
            Step::Queue(at, overflows) => {
                match overflows {
                    true => left.overflows -= 1,
                    false => left.queued -= 1,
                }
                let truth = next.truth;
                next.at(at).queue(truth, overflows);
                true
            }
            Step::SendQueued(at) => self.send_queued(next, at),
            Step::Acknowledge(at) => self.acknowledge(next, at),
            _ => false,
        }
    }

    /// The server executes an invalidation. The fences of memory are raised before.
    fn send(&self, next: &mut State, at: u8, subject: Subject) -> bool {
        let (mut messages, version) = (Vec::new(), next.truth);
        let fresh = self.fresh_base(next);
        let mark = next
            .server
            .count(subject, (fresh, self.capacity), &self.guards, &mut messages);
        self.publish(next, &messages);
        let instance = next.at(at);
        if subject != Subject::Other {
            instance.void();
        }
        instance.sent = Some(Sent {
            subject,
            version,
            mark,
            half_done: false,
        });
        true
    }

    fn send_queued(&self, next: &mut State, at: u8) -> bool {
        let Some(queued) = next.at(at).queued else {
            return false;
        };
        let subject = if queued.all {
            Subject::All
        } else {
            Subject::Tag
        };
        self.send(next, at, subject)
    }

    /// Applies the reply to the mirror, and then to memory.
    fn acknowledge(&self, next: &mut State, at: u8) -> bool {
        let guards = self.guards;
        let instance = next.at(at);
        let Some(sent) = instance.sent else {
            return false;
        };
        let is_first = !sent.half_done;
        let is_for_mirror = is_first == guards.mirror_first || !self.memory;
        if is_for_mirror && guards.second_fence {
            instance.mirror.replied(sent.reply(), &guards);
        }
        let voids = guards.memory_again && sent.subject != Subject::Other;
        if voids && is_first != guards.mirror_first {
            instance.void();
        }
        if is_first && self.memory {
            instance.sent = Some(Sent {
                half_done: true,
                ..sent
            });
            return true;
        }
        instance.sent = None;
        if let Subject::Tag | Subject::All = sent.subject {
            instance.queued = None;
        }
        let needed = Needed::of(sent.subject, sent.version);
        instance.own = instance.own.max(needed);
        next.acknowledged = next.acknowledged.max(needed);
        true
    }

    /// Applies the first message to the mirror, and then to memory.
    pub(super) fn deliver(&self, next: &mut State, at: u8) -> bool {
        let guards = self.guards;
        let instance = next.at(at);
        let message = instance.inbox[0];
        let voids = match message {
            Message::Tag { .. } | Message::Expiry { .. } => true,
            Message::All { .. } => guards.all_void_memory,
            Message::Pong { .. }
            | Message::Other { .. }
            | Message::Rotated { .. }
            | Message::Begun { .. } => false,
        };
        if let Message::Pong { hard, soft } = message {
            instance.proved = Some(Needed { hard, soft });
        }
        let is_whole = !self.memory || !voids;
        let is_first = !instance.half_done;
        if is_whole || is_first == guards.mirror_first {
            instance.mirror.learn(message, &guards);
        }
        if voids && is_first != guards.mirror_first {
            instance.void();
        }
        instance.half_done = is_first && !is_whole;
        if !instance.half_done {
            instance.inbox.remove(0);
        }
        true
    }
}
