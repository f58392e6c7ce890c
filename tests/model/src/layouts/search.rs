//! Search of all reachable states, the shortest order of steps first.

use std::collections::HashMap;

use super::config::{Layouts, Wrong};
use super::liveness::Recovered;
use super::state::State;
use super::steps::Step;

/// Outcome of a search.
#[derive(Debug)]
pub struct Outcome {
    /// Number of states.
    pub states: usize,
    /// The violation, and the shortest order of steps that leads to it.
    pub wrong: Option<(Wrong, Vec<Step>)>,
}

/// A state, the index of the state before it, and the step in between.
type Found = (State, usize, Option<Step>);

/// Tries every order of steps, until a violation is found.
#[must_use]
pub fn search(layouts: &Layouts) -> Outcome {
    let start = layouts.start();
    let mut found: Vec<Found> = vec![(start.clone(), 0, None)];
    let mut places = HashMap::from([(start, 0)]);
    let mut possible = Vec::new();
    let mut recovered = Recovered::new();
    let mut at = 0;
    while at < found.len() {
        let state = found[at].0.clone();
        if let Err(wrong) = layouts.check_liveness(&state, &mut recovered) {
            return Outcome {
                states: found.len(),
                wrong: Some((wrong, path(&found, at, None))),
            };
        }
        possible.clear();
        layouts.steps(&state, &mut possible);
        for step in possible.drain(..) {
            match layouts.take(&state, step) {
                Err(wrong) => {
                    return Outcome {
                        states: found.len(),
                        wrong: Some((wrong, path(&found, at, Some(step)))),
                    };
                }
                Ok(next) if !places.contains_key(&next) => {
                    places.insert(next.clone(), found.len());
                    found.push((next, at, Some(step)));
                }
                Ok(_) => {}
            }
        }
        at += 1;
    }
    Outcome {
        states: found.len(),
        wrong: None,
    }
}

/// Returns the steps to the state at `from`, and then `last`.
fn path(found: &[Found], mut from: usize, last: Option<Step>) -> Vec<Step> {
    let mut path = Vec::from_iter(last);
    while let (_, before, Some(step)) = &found[from] {
        path.push(*step);
        from = *before;
    }
    path.reverse();
    path
}
