//! Invalidations that are not on the disk yet. Until they are, what they name is not read and not filled.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::tier::Target;

use crate::store::{Name, function_name};

/// Most keys and functions; more than that, and it is everything.
const MOST: usize = 1 << 16;

#[derive(Default)]
pub(crate) struct Owed(Mutex<State>);

#[derive(Default)]
struct State {
    all: Option<u64>,
    /// Each with the number under which it was owed last.
    functions: HashMap<String, u64>,
    keys: HashMap<String, u64>,
    number: u64,
}

/// What is owed at a time.
#[derive(Debug, Default)]
pub(crate) struct Bill {
    pub(crate) all: bool,
    pub(crate) functions: HashSet<String>,
    pub(crate) keys: HashSet<String>,
    number: u64,
}

impl Bill {
    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.functions.is_empty() && self.keys.is_empty()
    }
}

impl Owed {
    pub(crate) fn add(&self, target: Target<'_>) {
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        match target {
            Target::Key(key) => {
                state.keys.insert(Name::of(key).record, number);
            }
            Target::Function(function) => {
                state.functions.insert(function_name(function), number);
            }
            // What is not known is taken for all.
            _ => state.all = Some(number),
        }
        if state.keys.len() + state.functions.len() > MOST {
            state.keys.clear();
            state.functions.clear();
            state.all = Some(number);
        }
    }

    pub(crate) fn covers(&self, name: &Name) -> bool {
        let state = self.lock();
        state.all.is_some()
            || state.functions.contains_key(&name.function)
            || state.keys.contains_key(&name.record)
    }

    pub(crate) fn len(&self) -> usize {
        let state = self.lock();
        usize::from(state.all.is_some()) + state.functions.len() + state.keys.len()
    }

    pub(crate) fn bill(&self) -> Bill {
        let state = self.lock();
        Bill {
            all: state.all.is_some(),
            functions: state.functions.keys().cloned().collect(),
            keys: state.keys.keys().cloned().collect(),
            number: state.number,
        }
    }

    /// That is on the disk. What was owed again since is owed still.
    pub(crate) fn paid(&self, bill: &Bill) {
        let mut state = self.lock();
        let is_owed = |_: &String, number: &mut u64| *number > bill.number;
        state.keys.retain(is_owed);
        state.functions.retain(is_owed);
        state.all = state.all.filter(|number| *number > bill.number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
