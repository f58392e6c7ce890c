//! The epochs of a private store: which of its records are valid.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::convert::Infallible;
use std::hash::{BuildHasher, Hash};
use std::sync::Mutex;

use super::lock::lock;
use crate::record::Stamp;

/// The greatest number of functions with an epoch of their own. If there are more, a new history
/// begins, which voids the records of all functions.
const MAX_FUNCTIONS: usize = 1 << 16;

/// The history and the epochs of a private store.
///
/// A record is valid only if it carries the [stamp](Self::stamp) of its function. The invalidation
/// of a function gives it another epoch, and the invalidation of everything begins another history,
/// so either takes one step however many records there are. Epochs are random numbers and not
/// counted: a change that a crash undid must not come back with another meaning.
///
/// `K` is what the store calls a function. `L` writes the changes down, for a store whose records
/// outlive the process; with `()` they are in memory only, and the records of another process are
/// never valid.
#[derive(Debug)]
pub struct Epochs<K, L = ()> {
    log: L,
    /// Held while a change is written to the log, so that the log and the memory change in one
    /// order.
    state: Mutex<State<K>>,
}

#[derive(Debug)]
struct State<K> {
    history: u64,
    /// The epochs of the functions that were voided since the history began. Other functions have
    /// the number of the history as their epoch.
    epochs: HashMap<K, u64>,
}

/// Where [`Epochs`] are written down before they take effect.
pub trait EpochLog<K> {
    /// The error of a write that failed. The change has no effect then.
    type Error;

    /// Writes the epoch of a function.
    ///
    /// # Errors
    /// If it could not be written.
    fn write_epoch(&self, function: &K, epoch: u64) -> Result<(), Self::Error>;

    /// Writes a new history. The epochs that were written before it are removed after it.
    ///
    /// # Errors
    /// If it could not be written.
    fn write_history(&self, history: u64) -> Result<(), Self::Error>;

    /// Removes the epoch of a function, which has no meaning any more.
    ///
    /// # Errors
    /// If it could not be removed.
    fn remove_epoch(&self, function: &K) -> Result<(), Self::Error>;
}

/// Writes nothing down.
impl<K> EpochLog<K> for () {
    type Error = Infallible;

    fn write_epoch(&self, _: &K, _: u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn write_history(&self, _: u64) -> Result<(), Infallible> {
        Ok(())
    }

    fn remove_epoch(&self, _: &K) -> Result<(), Infallible> {
        Ok(())
    }
}

impl<K: Eq + Hash> Default for Epochs<K> {
    /// Begins a history under which nothing was ever stored.
    fn default() -> Self {
        Self::restore((), fresh_epoch(), HashMap::new())
    }
}

impl<K: Eq + Hash, L> Epochs<K, L> {
    /// Continues a history.
    pub fn restore(log: L, history: u64, epochs: HashMap<K, u64>) -> Self {
        let state = Mutex::new(State { history, epochs });
        Self { log, state }
    }

    /// Returns the stamp that a valid record of the function carries.
    pub fn stamp<Q>(&self, function: &Q) -> Stamp
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let state = lock(&self.state);
        let epoch = state.epochs.get(function).copied();
        Stamp {
            epoch: epoch.unwrap_or(state.history),
            history: state.history,
        }
    }

    /// Replaces the history and the epochs by those of another owner of the store. The log is not
    /// written.
    pub fn replace(&self, history: u64, epochs: HashMap<K, u64>) {
        *lock(&self.state) = State { history, epochs };
    }

    /// Returns the history and the epochs, for another owner of the store.
    #[must_use]
    pub fn snapshot(&self) -> (u64, HashMap<K, u64>)
    where
        K: Clone,
    {
        let state = lock(&self.state);
        (state.history, state.epochs.clone())
    }
}

impl<K: Eq + Hash, L: EpochLog<K>> Epochs<K, L> {
    /// Voids all records of a function.
    ///
    /// # Errors
    /// The log was not written; the records are as valid as before.
    pub fn void(&self, function: K) -> Result<(), L::Error> {
        let mut state = lock(&self.state);
        if state.epochs.len() >= MAX_FUNCTIONS && !state.epochs.contains_key(&function) {
            return self.begin_history(&mut state);
        }
        let epoch = fresh_epoch();
        self.log.write_epoch(&function, epoch)?;
        state.epochs.insert(function, epoch);
        Ok(())
    }

    /// Voids all records, by a new history.
    ///
    /// # Errors
    /// The history was not written, and the records are as valid as before; or it was written, the
    /// records are void, and an epoch that has no meaning any more could not be removed.
    pub fn void_all(&self) -> Result<(), L::Error> {
        self.begin_history(&mut lock(&self.state))
    }

    fn begin_history(&self, state: &mut State<K>) -> Result<(), L::Error> {
        let history = fresh_epoch();
        // The history is written before the old epochs are removed. A function without an epoch has
        // that of the history, and nothing was stored under the new one yet. In the opposite order,
        // a crash in between would give a voided function the epoch of the old history back.
        self.log.write_history(history)?;
        state.history = history;
        for (function, _) in state.epochs.drain() {
            self.log.remove_epoch(&function)?;
        }
        Ok(())
    }
}

/// Returns a random epoch.
#[must_use]
pub fn fresh_epoch() -> u64 {
    // Each `RandomState` has another random key, so its hashes are random numbers.
    RandomState::new().hash_one(0u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn voided_function_has_another_stamp_and_others_keep_theirs() {
        let epochs = Epochs::<String>::default();
        let before = ["a", "b"].map(|function| epochs.stamp(function));
        let Ok(()) = epochs.void("a".to_owned());
        assert_ne!(epochs.stamp("a"), before[0]);
        assert_eq!(epochs.stamp("b"), before[1]);
        let (history, all) = epochs.snapshot();
        let next = Epochs::<String>::default();
        next.replace(history, all);
        assert_eq!(
            ["a", "b"].map(|function| next.stamp(function)),
            ["a", "b"].map(|function| epochs.stamp(function))
        );
        let Ok(()) = epochs.void_all();
        assert_ne!(epochs.stamp("b"), before[1]);
    }

    #[test]
    fn too_many_voided_functions_become_a_new_history() {
        let epochs = Epochs::<u64>::default();
        let before = epochs.stamp(&u64::MAX);
        for function in 0..=MAX_FUNCTIONS as u64 {
            let Ok(()) = epochs.void(function);
        }
        assert_ne!(epochs.stamp(&u64::MAX), before);
        assert!(epochs.snapshot().1.len() < MAX_FUNCTIONS);
    }
}
