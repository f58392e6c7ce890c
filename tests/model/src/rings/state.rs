//! State of the callers and of the store.

use std::collections::BTreeSet;

use super::config::Key;

/// A set of keys or of calls: a bit for each.
pub(super) type Set = u8;

/// Wait of the holder of one lease for another lease: key and token of each.
pub(super) type Edge = ((Key, u8), (Key, u8));

/// Progress of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Phase {
    /// It has not begun.
    Begins,
    /// It waits for a flight of its instance that another caller leads.
    Joined,
    /// It leads the flight, and next reads the store and requests the lease.
    Leads { continues: bool },
    /// Another instance holds the lease with this token. Whether the wait closes a ring is not
    /// known yet.
    Refused { token: u8 },
    /// The edges were added and not searched yet, if these are two steps.
    Added { token: u8 },
    /// It waits until the lease with this token ends.
    Waits { token: u8 },
    /// Its body runs, and has made this many calls.
    Runs { calls: u8, load: Load },
}

/// Way in which a body runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Load {
    /// Outside of the flight of its key, for its own caller.
    Alone,
    /// Within the flight of its key. A lease that is shared with another load makes no caller wait.
    Led { token: Option<u8>, exclusive: bool },
}

/// A call, which the body of the frame before it makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Frame {
    pub(super) key: Key,
    pub(super) phase: Phase,
}

/// State of everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct State {
    /// Frames of each caller, the innermost last. A caller without frames has its value.
    pub(super) tasks: Vec<Vec<Frame>>,
    pub(super) leases: Vec<Option<u8>>,
    pub(super) records: Set,
    /// Keys that each instance has in memory.
    pub(super) memory: Vec<Set>,
    pub(super) edges: BTreeSet<Edge>,
    pub(super) tokens: u8,
    pub(super) dropped: u8,
    /// Callers that continue because their wait closed a ring, and that were not dropped.
    pub(super) continuing: Set,
}

impl State {
    pub(super) fn innermost(&self, task: u8) -> &Frame {
        let frames = &self.tasks[usize::from(task)];
        frames.last().expect("a task with steps has a frame")
    }

    pub(super) fn enter(&mut self, task: u8, phase: Phase) {
        if let Some(frame) = self.tasks[usize::from(task)].last_mut() {
            frame.phase = phase;
        }
    }

    /// The innermost call of a task returns.
    pub(super) fn answered(&mut self, task: u8) {
        self.tasks[usize::from(task)].pop();
    }

    /// A call is dropped with its lease.
    pub(super) fn release(&mut self, frame: Frame) {
        if let Phase::Runs {
            load: Load::Led { token, exclusive },
            ..
        } = frame.phase
        {
            let lease = &mut self.leases[usize::from(frame.key)];
            if exclusive && *lease == token {
                *lease = None;
            }
        }
    }

    /// The store tells a caller whether its wait, with the leases that it blocks, closes a ring.
    ///
    /// If so, the caller continues, and its edges are removed: in the same step, or in another one.
    pub(super) fn decide(
        &mut self,
        task: u8,
        awaited: (Key, u8),
        blocked: &[(Key, u8)],
        removes: bool,
    ) {
        let is_held = |&(key, token): &(Key, u8)| self.leases[usize::from(key)] == Some(token);
        let blocked: Vec<_> = blocked.iter().copied().filter(is_held).collect();
        if !is_held(&awaited) || !reaches(&self.edges, awaited, |at| blocked.contains(&at)) {
            let token = awaited.1;
            self.enter(task, Phase::Waits { token });
            return;
        }
        if removes {
            self.edges
                .retain(|(from, to)| *to != awaited || !blocked.contains(from));
        }
        self.continuing |= 1 << task;
        self.enter(task, Phase::Leads { continues: true });
    }
}

pub(super) fn bit(key: Key) -> Set {
    1 << key
}

/// Returns `true` if `from` is a target, or waits for one, directly or indirectly.
pub(super) fn reaches<T: Copy + Ord>(
    waits: &BTreeSet<(T, T)>,
    from: T,
    is_target: impl Fn(T) -> bool,
) -> bool {
    let (mut open, mut seen) = (vec![from], BTreeSet::new());
    while let Some(at) = open.pop() {
        if is_target(at) {
            return true;
        }
        if seen.insert(at) {
            let targets = waits.iter().filter(|(waiting, _)| *waiting == at);
            open.extend(targets.map(|(_, target)| *target));
        }
    }
    false
}
