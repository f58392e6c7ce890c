//! Invalidations that a store has not been told of yet. Until it is, what they name is not read there and not filled.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::{FunctionKey, RecordKey, Target};

/// Most keys and functions; more than that, and it is everything.
const MOST: usize = 1 << 16;

/// What a [`Tier`](super::Tier) owes its store: it [adds](Self::add) what is invalidated before it tells the store, answers nothing
/// that is [covered](Self::covers), and takes off the list what the store has been told: one at a time ([`done`](Self::done)), or all
/// at once ([`bill`](Self::bill), [`paid`](Self::paid)).
#[derive(Debug, Default)]
pub struct Owed(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    all: Option<u64>,
    /// By name, each with the number under which it was owed last.
    functions: HashMap<String, (u64, FunctionKey)>,
    keys: HashMap<String, (u64, RecordKey)>,
    number: u64,
}

/// What is owed at a time.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Bill {
    /// Whether it is everything.
    pub all: bool,
    /// Functions.
    pub functions: Vec<FunctionKey>,
    /// Keys.
    pub keys: Vec<RecordKey>,
    number: u64,
}

impl Bill {
    /// The number under which the last that is on it was [added](Owed::add), or taken off since.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Whether there is nothing on it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        !self.all && self.functions.is_empty() && self.keys.is_empty()
    }

    /// All that is on it, what names most first.
    pub fn targets(&self) -> impl Iterator<Item = Target<'_>> {
        let all = self.all.then_some(Target::All);
        let functions = self.functions.iter().map(Target::Function);
        let keys = self.keys.iter().map(Target::Key);
        all.into_iter().chain(functions).chain(keys)
    }
}

impl Owed {
    /// Owes it from now on; with its number.
    pub fn add(&self, target: Target<'_>) -> u64 {
        let mut state = self.lock();
        state.number += 1;
        let number = state.number;
        match target {
            Target::Key(key) => {
                state.keys.insert(key.name(), (number, key.clone()));
            }
            Target::Function(function) => {
                let owed = (number, function.clone());
                state.functions.insert(function.versioned(), owed);
            }
            Target::All => state.all = Some(number),
        }
        if state.keys.len() + state.functions.len() > MOST {
            state.keys.clear();
            state.functions.clear();
            state.all = Some(number);
        }
        number
    }

    /// The store was told of it, as it was added under this number. What was owed again since is owed still.
    pub fn done(&self, target: Target<'_>, number: u64) {
        let mut state = self.lock();
        match target {
            Target::Key(key) => {
                let name = key.name();
                if state.keys.get(&name).is_some_and(|owed| owed.0 == number) {
                    state.keys.remove(&name);
                }
            }
            Target::Function(function) => {
                let name = function.versioned();
                let owed = state.functions.get(&name);
                if owed.is_some_and(|owed| owed.0 == number) {
                    state.functions.remove(&name);
                }
            }
            Target::All => state.all = state.all.filter(|owed| *owed != number),
        }
    }

    /// Whether an invalidation of this key is owed.
    #[must_use]
    pub fn covers(&self, key: &RecordKey) -> bool {
        let state = self.lock();
        state.all.is_some()
            || (!state.functions.is_empty()
                && state.functions.contains_key(&key.function.versioned()))
            || (!state.keys.is_empty() && state.keys.contains_key(&key.name()))
    }

    /// How many are owed.
    #[must_use]
    pub fn len(&self) -> usize {
        let state = self.lock();
        usize::from(state.all.is_some()) + state.functions.len() + state.keys.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All that is owed now.
    #[must_use]
    pub fn bill(&self) -> Bill {
        let state = self.lock();
        Bill {
            all: state.all.is_some(),
            functions: state
                .functions
                .values()
                .map(|owed| owed.1.clone())
                .collect(),
            keys: state.keys.values().map(|owed| owed.1.clone()).collect(),
            number: state.number,
        }
    }

    /// The store was told of all that is on the bill. What was owed again since is owed still.
    pub fn paid(&self, bill: &Bill) {
        let mut state = self.lock();
        state.keys.retain(|_, owed| owed.0 > bill.number);
        state.functions.retain(|_, owed| owed.0 > bill.number);
        state.all = state.all.filter(|number| *number > bill.number);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn key(number: u64) -> RecordKey {
        RecordKey::new(
            Arc::new(FunctionKey::new("f", 1)),
            number.to_string(),
            number,
        )
    }

    #[test]
    fn what_is_owed_again_is_owed_still() {
        let owed = Owed::default();
        let (first, second) = (key(1), key(2));
        let number = owed.add(Target::Key(&first));
        let bill = owed.bill();
        owed.add(Target::Key(&first));
        owed.add(Target::Key(&second));
        owed.done(Target::Key(&first), number);
        owed.paid(&bill);
        assert!(owed.covers(&first) && owed.covers(&second));
        owed.paid(&owed.bill());
        assert!(owed.is_empty() && !owed.covers(&first));
        let number = owed.add(Target::Function(&first.function));
        assert!(owed.covers(&second));
        owed.done(Target::Function(&first.function), number);
        assert!(!owed.covers(&second));
    }

    #[test]
    fn too_many_are_everything() {
        let owed = Owed::default();
        for number in 0..=MOST as u64 {
            owed.add(Target::Key(&key(number)));
        }
        assert_eq!(owed.len(), 1);
        assert!(owed.bill().all && owed.covers(&key(u64::MAX)));
    }
}
