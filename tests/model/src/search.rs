//! Every state that can be reached.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

use crate::protocol::{Protocol, State, Step, Wrong};

/// What a search came to.
#[derive(Debug)]
pub struct Outcome {
    /// States that were seen.
    pub states: usize,
    /// Steps that were tried.
    pub steps: u64,
    /// Whether there are no others.
    pub exhausted: bool,
    /// What went wrong, and the steps that led to it.
    pub wrong: Option<(Wrong, Vec<Step>)>,
}

/// States are known by 64 bits of a hash: that one of some ten million hides behind another is less likely than one in ten
/// thousand.
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

type Seen = HashSet<u64, BuildHasherDefault<Carried>>;

fn fingerprint(state: &State) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Tries every order of steps, until something goes wrong or `most` states were seen.
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
                Ok(None) => {}
                Ok(Some(next)) => {
                    if seen.insert(fingerprint(&next)) {
                        open.push(next);
                    }
                }
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

/// Tries the shortest orders first, and tells the steps that led to what went wrong.
#[must_use]
pub fn shortest(protocol: &Protocol, most: usize) -> Outcome {
    let start = protocol.start();
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    // Each state with where it came from.
    let mut all: Vec<(State, usize, Option<Step>)> = vec![(start, 0, None)];
    let (mut at, mut steps) = (0, 0);
    let mut possible = Vec::new();
    while at < all.len() && all.len() < most {
        let state = all[at].0.clone();
        possible.clear();
        protocol.steps(&state, &mut possible);
        for step in &possible {
            steps += 1;
            match protocol.take(&state, *step) {
                Ok(None) => {}
                Ok(Some(next)) => {
                    if seen.insert(fingerprint(&next)) {
                        all.push((next, at, Some(*step)));
                    }
                }
                Err(found) => {
                    let mut path = vec![*step];
                    let mut from = at;
                    while let Some(step) = all[from].2 {
                        path.push(step);
                        from = all[from].1;
                    }
                    path.reverse();
                    return Outcome {
                        states: seen.len(),
                        steps,
                        exhausted: false,
                        wrong: Some((found, path)),
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
