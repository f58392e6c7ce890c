//! Search of all reachable states, and of those from which some call never ends.

use std::collections::HashMap;

use super::config::{Rings, Wrong};
use super::state::State;
use super::steps::Step;

/// Outcome of a search.
#[derive(Debug)]
pub struct Outcome {
    /// Number of states.
    pub states: usize,
    /// Largest number of callers that continued in a ring.
    pub continuing: u32,
    /// The violation, and the shortest order of steps that leads to it.
    pub wrong: Option<(Wrong, Vec<Step>)>,
}

/// States in the order in which they were found, each with the step that led to it.
struct Found {
    states: Vec<(State, usize, Option<Step>)>,
    places: HashMap<State, usize>,
}

/// Tries every order of steps, the shortest first.
#[must_use]
pub fn search(rings: &Rings) -> Outcome {
    let start = rings.start();
    let mut found = Found {
        states: vec![(start.clone(), 0, None)],
        places: HashMap::from([(start, 0)]),
    };
    let mut follow: Vec<Vec<usize>> = Vec::new();
    let mut possible = Vec::new();
    let mut wrong = None;
    while wrong.is_none() && follow.len() < found.states.len() {
        let at = follow.len();
        let state = found.states[at].0.clone();
        possible.clear();
        rings.steps(&state, &mut possible);
        let mut followers = Vec::new();
        for step in &possible {
            let next = rings.take(&state, *step);
            // The same request had the same reply as before.
            if next == state {
                continue;
            }
            followers.push(found.place(next, at, *step));
        }
        let has_ended = state.tasks.iter().all(Vec::is_empty);
        wrong = match rings.judge(&state) {
            None if followers.is_empty() && !has_ended => Some((Wrong::Deadlock, at)),
            judged => judged.map(|wrong| (wrong, at)),
        };
        follow.push(followers);
    }
    let endless = || Some((Wrong::Endless, endless(&follow)?));
    let wrong = wrong.or_else(endless);
    Outcome {
        states: found.states.len(),
        continuing: found
            .states
            .iter()
            .map(|(state, ..)| state.continuing.count_ones())
            .max()
            .unwrap_or(0),
        wrong: wrong.map(|(wrong, at)| (wrong, found.path(at))),
    }
}

impl Found {
    fn place(&mut self, state: State, from: usize, step: Step) -> usize {
        if let Some(place) = self.places.get(&state) {
            return *place;
        }
        let place = self.states.len();
        self.places.insert(state.clone(), place);
        self.states.push((state, from, Some(step)));
        place
    }

    fn path(&self, mut at: usize) -> Vec<Step> {
        let mut path = Vec::new();
        while let (_, from, Some(step)) = &self.states[at] {
            path.push(*step);
            at = *from;
        }
        path.reverse();
        path
    }
}

/// Returns a state of a cycle, or one behind a cycle. Returns `None` if every order of steps ends.
fn endless(follow: &[Vec<usize>]) -> Option<usize> {
    let mut before = vec![0usize; follow.len()];
    for at in follow.iter().flatten() {
        before[*at] += 1;
    }
    let mut open: Vec<usize> = (0..follow.len()).filter(|at| before[*at] == 0).collect();
    while let Some(at) = open.pop() {
        for next in &follow[at] {
            before[*next] -= 1;
            if before[*next] == 0 {
                open.push(*next);
            }
        }
    }
    before.iter().position(|left| *left > 0)
}
