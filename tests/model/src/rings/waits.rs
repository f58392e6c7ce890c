//! Who waits for whom within an instance.

use std::collections::BTreeSet;

use super::{Frame, Key, Load, Phase, Rings, State};

impl Rings {
    /// The flights of an instance, by their keys.
    pub(super) fn flights(&self, state: &State, task: u8) -> Vec<Key> {
        let frames = self.neighbours(state, task).flatten();
        frames
            .filter(|frame| frame.leads())
            .map(|f| f.key)
            .collect()
    }

    /// Whether a wait of a task for a flight of its instance would close a ring inside of it.
    pub(super) fn closes_a_ring_here(&self, state: &State, task: u8, flight: Key) -> bool {
        let led = led(&state.tasks[usize::from(task)]);
        let waits = self.waits(state, task);
        reaches(&waits, flight, |reached| {
            led.iter().any(|(key, _)| *key == reached)
        })
    }

    /// The leases whose loads cannot end before a task goes on, which leads the flight of its innermost call.
    pub(super) fn blocked(&self, state: &State, task: u8) -> Vec<(Key, u8)> {
        let flight = state.innermost(task).key;
        let led_here = led(&state.tasks[usize::from(task)]);
        let waits = self.waits(state, task);
        let is_target =
            |reached| reached == flight || led_here.iter().any(|(at, _)| *at == reached);
        let is_waiting = |key: Key| waits.iter().any(|(from, _)| *from == key);
        let others = self.neighbours(state, task).flat_map(|frames| led(frames));
        let others = others.filter(|(key, _)| is_waiting(*key) && reaches(&waits, *key, is_target));
        let all = led_here.iter().copied().chain(others);
        let leases: BTreeSet<_> = all.filter_map(|(key, token)| Some((key, token?))).collect();
        leases.into_iter().collect()
    }

    /// The flights of an instance that wait for another from inside their load.
    fn waits(&self, state: &State, task: u8) -> BTreeSet<(Key, Key)> {
        let mut waits = BTreeSet::new();
        for frames in self.neighbours(state, task) {
            let led = led(frames);
            waits.extend(led.windows(2).map(|pair| (pair[0].0, pair[1].0)));
            if let (Some((from, _)), Some(innermost)) = (led.last(), frames.last())
                && innermost.phase == Phase::Joined
            {
                waits.insert((*from, innermost.key));
            }
        }
        waits
    }

    /// The tasks of the instance of a task.
    fn neighbours<'a>(
        &self,
        state: &'a State,
        task: u8,
    ) -> impl Iterator<Item = &'a Vec<Frame>> + use<'a, '_> {
        let instance = self.instance(task);
        let tasks = (0..).zip(&state.tasks);
        tasks
            .filter(move |(other, _)| self.instance(*other) == instance)
            .map(|(_, frames)| frames)
    }
}

impl Frame {
    /// Whether the call leads the flight of its key.
    fn leads(&self) -> bool {
        match self.phase {
            Phase::Asks | Phase::Joined => false,
            Phase::Leads { .. }
            | Phase::Refused { .. }
            | Phase::Noted { .. }
            | Phase::Waits { .. } => true,
            Phase::Runs { load, .. } => load != Load::Alone,
        }
    }
}

/// The flights whose loads a task runs, each with its lease if others wait for it.
fn led(frames: &[Frame]) -> Vec<(Key, Option<u8>)> {
    let led = frames.iter().filter_map(|frame| match frame.phase {
        Phase::Runs {
            load: Load::Led { token, exclusive },
            ..
        } => Some((frame.key, token.filter(|_| exclusive))),
        _ => None,
    });
    led.collect()
}

/// Whether something is, or waits for, what `is_target` accepts.
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
