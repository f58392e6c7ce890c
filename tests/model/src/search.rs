//! Search of all reachable states.

use std::collections::HashSet;
use std::hash::{BuildHasherDefault, DefaultHasher, Hash, Hasher};

/// A model whose states are searched.
pub trait Model {
    /// State of everything.
    type State: Clone + Hash;
    /// An event at one place.
    type Step: Copy;
    /// A violation.
    type Wrong;

    /// Returns the first state.
    fn start(&self) -> Self::State;

    /// Adds the steps that can happen next.
    fn steps(&self, state: &Self::State, steps: &mut Vec<Self::Step>);

    /// Returns the state after a step, or `None` if the step changes nothing.
    ///
    /// # Errors
    /// The step violates what the model promises.
    fn take(
        &self,
        state: &Self::State,
        step: Self::Step,
    ) -> Result<Option<Self::State>, Self::Wrong>;
}

/// Outcome of a search.
#[derive(Debug)]
pub struct Outcome<Wrong, Step> {
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

/// Outcome of the search of a model.
pub type OutcomeOf<M> = Outcome<<M as Model>::Wrong, <M as Model>::Step>;

/// A state, the index of the state before it, and the step in between.
type Found<M> = (<M as Model>::State, usize, Option<<M as Model>::Step>);

type Seen = HashSet<u64, BuildHasherDefault<Carried>>;

fn fingerprint(state: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    state.hash(&mut hasher);
    hasher.finish()
}

/// Tries every order of steps, until a violation is found or there are `most` states.
#[must_use]
pub fn exhaust<M: Model>(model: &M, most: usize) -> OutcomeOf<M> {
    let start = model.start();
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    let mut open = vec![start];
    let (mut steps, mut wrong) = (0, None);
    let mut possible = Vec::new();
    while let Some(state) = open.pop() {
        possible.clear();
        model.steps(&state, &mut possible);
        for step in &possible {
            steps += 1;
            match model.take(&state, *step) {
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
pub fn shortest<M: Model>(model: &M, most: usize) -> OutcomeOf<M> {
    let start = model.start();
    let mut seen = Seen::default();
    seen.insert(fingerprint(&start));
    // Each state has the index of the state before it, and the step in between.
    let mut all: Vec<Found<M>> = vec![(start, 0, None)];
    let (mut at, mut steps) = (0, 0);
    let mut possible = Vec::new();
    while at < all.len() && all.len() < most {
        let state = all[at].0.clone();
        possible.clear();
        model.steps(&state, &mut possible);
        for step in &possible {
            steps += 1;
            match model.take(&state, *step) {
                Ok(Some(next)) if seen.insert(fingerprint(&next)) => {
                    all.push((next, at, Some(*step)));
                }
                Ok(_) => {}
                Err(found) => {
                    return Outcome {
                        states: seen.len(),
                        steps,
                        exhausted: false,
                        wrong: Some((found, path::<M>(&all, at, *step))),
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
fn path<M: Model>(all: &[Found<M>], mut from: usize, last: M::Step) -> Vec<M::Step> {
    let mut path = vec![last];
    while let Some(step) = all[from].2 {
        path.push(step);
        from = all[from].1;
    }
    path.reverse();
    path
}
