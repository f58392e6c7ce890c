//! The epochs of the functions and the history, as this instance knows them. With them a hit reads
//! the record alone.
//!
//! They are valid while the channel is coherent, because its messages update them. A reply is
//! learned only if nothing was forgotten since the request was sent: the message that invalidates
//! the reply may have arrived before it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::tier::{FunctionKey, Stamp};

/// Functions, and the epoch of each.
pub(crate) type KnownEpochs = Vec<(Arc<FunctionKey>, u64)>;

/// The known epochs, and the known history.
#[derive(Debug, Default)]
pub(crate) struct Epochs(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// By digest and version of the function. There are as many as there are functions.
    epochs: HashMap<(u64, u32), (Arc<FunctionKey>, u64)>,
    history: Option<u64>,
    /// The number of times that something was forgotten.
    forgotten: u64,
    /// `forgotten` as of the last time that everything was forgotten.
    all_forgotten: u64,
    /// `forgotten` as of the last time that a function of a stripe was forgotten. The number of
    /// stripes is fixed, because digests arrive from other instances.
    stripes: Stripes,
    /// The number of times that a history began or ended.
    histories: u64,
}

const STRIPES: usize = 256;

#[derive(Debug)]
struct Stripes([u64; STRIPES]);

impl Default for Stripes {
    fn default() -> Self {
        Self([0; STRIPES])
    }
}

impl Stripes {
    fn of(&mut self, digest: u64) -> &mut u64 {
        &mut self.0[digest as usize % STRIPES]
    }
}

/// A moment, before or after which something was forgotten.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    forgotten: u64,
    histories: u64,
}

impl Epochs {
    /// Returns the current moment. Call it before sending a request whose reply may be learned.
    pub(crate) fn mark(&self) -> Mark {
        let state = self.lock();
        Mark {
            forgotten: state.forgotten,
            histories: state.histories,
        }
    }

    /// Returns the stamp of a function's valid records.
    pub(crate) fn stamp(&self, function: &FunctionKey) -> Option<Stamp> {
        let state = self.lock();
        Some(Stamp {
            epoch: state.epochs.get(&(function.digest, function.version))?.1,
            history: state.history?,
        })
    }

    /// Returns the history, and all known epochs with their functions; `None` without a history.
    pub(crate) fn all(&self) -> Option<(u64, KnownEpochs)> {
        let state = self.lock();
        Some((state.history?, state.epochs.values().cloned().collect()))
    }

    /// Returns the history, if it is known.
    pub(crate) fn history(&self) -> Option<u64> {
        self.lock().history
    }

    /// Learns the epoch of a function from a reply, unless it was forgotten since the request.
    pub(crate) fn learn(&self, function: &Arc<FunctionKey>, epoch: u64, asked: Mark) {
        let mut state = self.lock();
        let forgotten = (*state.stripes.of(function.digest)).max(state.all_forgotten);
        if forgotten <= asked.forgotten {
            let learned = (Arc::clone(function), epoch);
            state
                .epochs
                .insert((function.digest, function.version), learned);
        }
    }

    /// Notes that there is another history, or none, and forgets all epochs.
    pub(crate) fn begin(&self, history: Option<u64>) {
        self.lock().begin(history);
    }

    /// Notes the history from a reply, unless the channel has announced another since the request.
    pub(crate) fn adopt(&self, history: u64, asked: Mark) {
        let mut state = self.lock();
        if state.histories == asked.histories {
            state.begin(Some(history));
        }
    }

    /// Forgets the epoch of a function if it is still `epoch`.
    pub(crate) fn forget_epoch(&self, function: &FunctionKey, epoch: u64) {
        let mut state = self.lock();
        let key = (function.digest, function.version);
        if state
            .epochs
            .get(&key)
            .is_some_and(|(_, known)| *known == epoch)
        {
            state.forget(function.digest);
        }
    }

    /// Forgets every version of the function with this digest.
    pub(crate) fn forget(&self, digest: u64) {
        self.lock().forget(digest);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, digest: u64) {
        self.forgotten += 1;
        *self.stripes.of(digest) = self.forgotten;
        self.epochs.retain(|(function, _), _| *function != digest);
    }

    fn begin(&mut self, history: Option<u64>) {
        self.forgotten += 1;
        self.all_forgotten = self.forgotten;
        self.histories += 1;
        self.epochs.clear();
        self.history = history;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reply_is_not_learned_if_a_message_overtook_it() {
        let epochs = Epochs::default();
        let function = Arc::new(FunctionKey::new("users::get", 1));
        epochs.begin(Some(7));
        let asked = epochs.mark();
        epochs.learn(&function, 11, asked);
        assert_eq!(
            epochs.stamp(&function),
            Some(Stamp {
                epoch: 11,
                history: 7
            })
        );
        epochs.forget(function.digest);
        assert_eq!(epochs.stamp(&function), None);
        epochs.learn(&function, 11, asked);
        assert_eq!(epochs.stamp(&function), None, "the request was sent before");
        epochs.learn(&function, 12, epochs.mark());
        assert_eq!(
            epochs.stamp(&function),
            Some(Stamp {
                epoch: 12,
                history: 7
            })
        );
        epochs.begin(None);
        assert_eq!(epochs.stamp(&function), None);
    }

    /// Otherwise invalidations of one function would make every hit of all others read two more
    /// keys.
    #[test]
    fn epoch_is_learned_while_another_function_is_invalidated() {
        let epochs = Epochs::default();
        let function = Arc::new(FunctionKey::new("users::get", 1));
        epochs.begin(Some(7));
        let asked = epochs.mark();
        epochs.forget(function.digest.wrapping_add(1));
        epochs.learn(&function, 11, asked);
        assert!(epochs.stamp(&function).is_some());
        let asked = epochs.mark();
        epochs.begin(Some(8));
        epochs.learn(&function, 11, asked);
        assert_eq!(epochs.stamp(&function), None, "everything was forgotten");
    }

    #[test]
    fn history_is_not_adopted_if_a_newer_one_was_announced() {
        let epochs = Epochs::default();
        let asked = epochs.mark();
        epochs.forget(1);
        epochs.adopt(7, asked);
        assert_eq!(
            epochs.history(),
            Some(7),
            "forgetting a function says nothing about the history"
        );
        let asked = epochs.mark();
        epochs.begin(Some(9));
        epochs.adopt(8, asked);
        assert_eq!(epochs.history(), Some(9));
    }
}
