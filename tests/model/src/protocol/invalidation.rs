//! Steps of the invalidation, which instance 0 makes.

use super::config::{Protocol, Target};
use super::state::{Invalidation, Link, Message, State};
use super::steps::Step;

impl Protocol {
    /// Takes a step of the invalidation. Returns `false` if it changes nothing.
    pub(super) fn invalidate(&self, next: &mut State, step: Step) -> bool {
        match (step, next.invalidation) {
            (Step::Commit(key), _) => {
                next.written += 1;
                next.truth[usize::from(key)] += 1;
                next.invalidation = Some(Invalidation::Committed { key });
            }
            (Step::BeginInvalidation(target), Some(Invalidation::Committed { key })) => {
                next.instances[0].invalidated(key, target != Target::Key);
                next.invalidation = Some(Invalidation::Begun { key, target });
            }
            (Step::Invalidate, Some(Invalidation::Begun { key, target })) => {
                return self.run_script(next, key, target);
            }
            (Step::Publish, Some(Invalidation::Deleted { key, target })) => {
                let fresh = next.histories;
                let received = next.instances[0].received;
                self.publish(next, message(key, target, fresh), received);
                next.invalidation = Some(Invalidation::Done { key });
            }
            (Step::DieBeforePublishing, Some(Invalidation::Deleted { key, .. })) => {
                next.invalidation = Some(Invalidation::Done { key });
            }
            (Step::Acknowledge, Some(Invalidation::Done { key })) => {
                if self.guards.second_fence {
                    next.instances[0].invalidated(key, true);
                }
                next.instances[0].epoch = None;
                let version = next.truth[usize::from(key)];
                next.acknowledged.push((key, version, next.now));
                next.invalidation = None;
            }
            _ => return false,
        }
        true
    }

    /// Runs the script on the server of instance 0.
    fn run_script(&self, next: &mut State, key: u8, target: Target) -> bool {
        let Link::Up { server } = next.instances[0].link else {
            return false;
        };
        let primary = next.primary.identity;
        let fresh = next.fresh(target);
        let received = next.instances[0].received;
        // A primary without its replica refuses writes, because it is configured to do so.
        let Some(store) = next
            .server(server)
            .filter(|store| store.identity == primary)
        else {
            next.instances[0].disconnect();
            return true;
        };
        store.invalidate(key, target, fresh);
        if self.guards.one_script {
            self.publish(next, message(key, target, fresh), received);
            next.invalidation = Some(Invalidation::Done { key });
        } else {
            next.invalidation = Some(Invalidation::Deleted { key, target });
        }
        true
    }
}

fn message(key: u8, target: Target, history: u8) -> Message {
    match target {
        Target::Key => Message::Key(key),
        Target::Function => Message::Function,
        Target::Namespace => Message::History(history),
    }
}
