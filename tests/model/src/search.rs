//! Search of all reachable states.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use crate::protocol::{Protocol, State, Step, Wrong};

/// Outcome of a search.
#[derive(Debug)]
pub struct Outcome {
    /// Number of states.
    pub states: usize,
    /// Number of steps that were tried.
    pub steps: u64,
    /// `true` if all reachable states were searched without a violation.
    pub exhausted: bool,
    /// The violation, and the steps that lead to it.
    pub wrong: Option<(Wrong, Vec<Step>)>,
}

/// Hasher for keys that are hashes already.
///
/// A state is recognized by 64 bits of its hash. The probability that one of ten million states is
/// mistaken for another is less than one in ten thousand.
#[derive(Default)]
struct Carried(u64);

impl Hasher for Carried {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// A state, the index of the state before it, and the step in between.
type Found = (State, usize, Option<Step>);

type Seen = HashSet<u64, BuildHasherDefault<Carried>>;

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Tries every order of steps, until a violation is found or there are `most` states.
#[must_use]
pub fn exhaust(protocol: &Protocol, most: usize) -> Outcome {
    let start = protocol.start();
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    let mut open = vec![start];
    let (mut steps, mut wrong) = (0, None);
    let mut possible = Vec::new();
    while let Some(state) = open.pop() {
        possible.clear();
        protocol.steps(&state, &mut possible);
        for step in &possible {
            steps += 1;
            match protocol.take(&state, *step) {
                Ok(Some(next)) if seen.insert(fingerprint(&next)) => open.push(next),
                Ok(_) => {}
                Err(found) => wrong = Some((found, vec![*step])),
            }
        }
        if wrong.is_some() || seen.len() >= most {
            break;
        }
    }
    Outcome {
        states: seen.len(),
        steps,
        exhausted: open.is_empty() && wrong.is_none(),
        wrong,
    }
}

/// Tries the shortest orders of steps first, and returns the steps that lead to a violation.
#[must_use]
pub fn shortest(protocol: &Protocol, most: usize) -> Outcome {
    let start = protocol.start();
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    // Each state has the index of the state before it, and the step in between.
    let mut all: Vec<Found> = vec![(start, 0, None)];
    let (mut at, mut steps) = (0, 0);
    let mut possible = Vec::new();
    while at < all.len() && all.len() < most {
        let state = all[at].0.clone();
        possible.clear();
        protocol.steps(&state, &mut possible);
        for step in &possible {
            steps += 1;
            match protocol.take(&state, *step) {
                Ok(Some(next)) if seen.insert(fingerprint(&next)) => {
                    all.push((next, at, Some(*step)));
                }
                Ok(_) => {}
                Err(found) => {
                    return Outcome {
                        states: seen.len(),
                        steps,
                        exhausted: false,
                        wrong: Some((found, path(&all, at, *step))),
                    };
                }
            }
        }
        at += 1;
    }
    Outcome {
        states: seen.len(),
        steps,
        exhausted: at == all.len(),
        wrong: None,
    }
}

/// Returns the steps to the state at `from`, and then `last`.
fn path(all: &[Found], mut from: usize, last: Step) -> Vec<Step> {
    let mut path = vec![last];
    while let Some(step) = all[from].2 {
        path.push(step);
        from = all[from].1;
    }
    path.reverse();
    path
}
