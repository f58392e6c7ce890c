//! Waits within an instance.

use std::collections::BTreeSet;

use super::config::{Key, Rings};
use super::state::{Frame, Load, Phase, State, reaches};

impl Rings {
    /// Returns the keys that have a flight in the instance of a task.
    pub(super) fn flights(&self, state: &State, task: u8) -> Vec<Key> {
        let frames = self.neighbours(state, task).flatten();
        frames
            .filter(|frame| frame.leads())
            .map(|f| f.key)
            .collect()
    }

    /// Returns `true` if a wait of a task for a flight of its instance would close a ring there.
    pub(super) fn closes_a_ring_here(&self, state: &State, task: u8, flight: Key) -> bool {
        let led = led(&state.tasks[usize::from(task)]);
        let waits = self.waits(state, task);
        reaches(&waits, flight, |reached| {
            led.iter().any(|(key, _)| *key == reached)
        })
    }

    /// Returns the leases whose loads cannot end before a task continues.
    ///
    /// The task leads the flight of its innermost call.
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

    /// Returns the flights of an instance whose loads wait for another flight, with that flight.
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

    /// Returns the tasks in the instance of a task.
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
    /// Returns `true` if the call leads the flight of its key.
    fn leads(&self) -> bool {
        match self.phase {
            Phase::Begins | Phase::Joined => false,
            Phase::Leads { .. }
            | Phase::Refused { .. }
            | Phase::Added { .. }
            | Phase::Waits { .. } => true,
            Phase::Runs { load, .. } => load != Load::Alone,
        }
    }
}

/// Returns the flights whose loads a task runs, each with its lease if other instances wait for it.
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
