//! What is known of the functions' epochs and of the history: then a hit reads the record alone.
//!
//! It is known as the channel tells it, and good as long as that is coherent. What a reply says is learned only if nothing was
//! forgotten since it was asked for: the message that voids it may have overtaken it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use cache_core::tier::{FunctionKey, Stamp};

/// Functions, and the epoch of each.
pub(crate) type KnownEpochs = Vec<(Arc<FunctionKey>, u64)>;

#[derive(Debug, Default)]
pub(crate) struct Epochs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By digest and version. As many as there are functions.
    epochs: HashMap<(u64, u32), (Arc<FunctionKey>, u64)>,
    history: Option<u64>,
    /// Number of times that something was forgotten.
    forgotten: u64,
    /// `forgotten` as of the last time that all was.
    all_forgotten: u64,
    /// `forgotten` as of the last time that a function of this stripe was: a fixed number of stripes,
    /// since digests arrive from other instances.
    stripes: Stripes,
    /// How often a history began, or ended.
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

/// A point in time, as far as forgetting goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    forgotten: u64,
    histories: u64,
}

impl Epochs {
    /// To be taken before what may be learned is asked for.
    pub(crate) fn mark(&self) -> Mark {
        let known = self.lock();
        Mark {
            forgotten: known.forgotten,
            histories: known.histories,
        }
    }

    /// The stamp of a function's records.
    pub(crate) fn stamp(&self, function: &FunctionKey) -> Option<Stamp> {
        let known = self.lock();
        Some(Stamp {
            epoch: known.epochs.get(&(function.digest, function.version))?.1,
            history: known.history?,
        })
    }

    /// The history, and each epoch that is known with its function; `None` without a history.
    pub(crate) fn all(&self) -> Option<(u64, KnownEpochs)> {
        let known = self.lock();
        Some((known.history?, known.epochs.values().cloned().collect()))
    }

    pub(crate) fn history(&self) -> Option<u64> {
        self.lock().history
    }

    pub(crate) fn learn(&self, function: &FunctionKey, epoch: u64, asked: Mark) {
        let mut known = self.lock();
        let forgotten = (*known.stripes.of(function.digest)).max(known.all_forgotten);
        if forgotten <= asked.forgotten {
            let learned = (Arc::new(function.clone()), epoch);
            known
                .epochs
                .insert((function.digest, function.version), learned);
        }
    }

    /// The history is another now; nothing else is known of it.
    pub(crate) fn begin(&self, history: Option<u64>) {
        self.lock().begin(history);
    }

    /// The same as a reply says it, unless the channel has told of another since it was asked for.
    pub(crate) fn adopt(&self, history: u64, asked: Mark) {
        let mut known = self.lock();
        if known.histories == asked.histories {
            known.begin(Some(history));
        }
    }

    /// Forgets the epoch of a function, if it is still this one.
    pub(crate) fn forget_epoch(&self, function: &FunctionKey, epoch: u64) {
        let mut known = self.lock();
        let key = (function.digest, function.version);
        if known
            .epochs
            .get(&key)
            .is_some_and(|(_, known)| *known == epoch)
        {
            known.forget(function.digest);
        }
    }

    /// Forgets every version of the function with this digest.
    pub(crate) fn forget(&self, digest: u64) {
        self.lock().forget(digest);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
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
    fn a_reply_that_a_message_overtook_is_not_learned() {
        let epochs = Epochs::default();
        let function = FunctionKey::new("users::get", 1);
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
        assert_eq!(epochs.stamp(&function), None, "it was asked for before");
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

    /// Else the traffic of one function would keep the hits of all others at two more keys each.
    #[test]
    fn epoch_is_learned_while_another_function_is_invalidated() {
        let epochs = Epochs::default();
        let function = FunctionKey::new("users::get", 1);
        epochs.begin(Some(7));
        let asked = epochs.mark();
        epochs.forget(function.digest.wrapping_add(1));
        epochs.learn(&function, 11, asked);
        assert!(epochs.stamp(&function).is_some());
        let asked = epochs.mark();
        epochs.begin(Some(8));
        epochs.learn(&function, 11, asked);
        assert_eq!(epochs.stamp(&function), None, "all was forgotten");
    }

    #[test]
    fn a_history_that_another_overtook_is_not_adopted() {
        let epochs = Epochs::default();
        let asked = epochs.mark();
        epochs.forget(1);
        epochs.adopt(7, asked);
        assert_eq!(epochs.history(), Some(7), "nothing is said of the history");
        let asked = epochs.mark();
        epochs.begin(Some(9));
        epochs.adopt(8, asked);
        assert_eq!(epochs.history(), Some(9));
    }
}
