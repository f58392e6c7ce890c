//! What is known of the functions' epochs and of the history: then a hit reads the record alone.
//!
//! It is known as the channel tells it, and good as long as that is coherent. What a reply says is learned only if nothing was
//! forgotten since it was asked for: the message that voids it may have overtaken it.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use cache_core::tier::{FunctionKey, Stamp};

#[derive(Debug, Default)]
pub(crate) struct Epochs(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    /// By digest and version. As many as there are functions.
    epochs: HashMap<(u64, u32), u64>,
    history: Option<u64>,
    /// How often something was forgotten.
    forgotten: u64,
}

/// A point in time, as far as forgetting goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark(u64);

impl Epochs {
    /// To be taken before what may be learned is asked for.
    pub(crate) fn mark(&self) -> Mark {
        Mark(self.lock().forgotten)
    }

    /// The stamp of a function's records.
    pub(crate) fn stamp(&self, function: &FunctionKey) -> Option<Stamp> {
        let known = self.lock();
        Some(Stamp {
            epoch: *known.epochs.get(&(function.digest, function.version))?,
            history: known.history?,
        })
    }

    pub(crate) fn history(&self) -> Option<u64> {
        self.lock().history
    }

    pub(crate) fn learn(&self, function: &FunctionKey, epoch: u64, asked: Mark) {
        let mut known = self.lock();
        if known.forgotten == asked.0 {
            known
                .epochs
                .insert((function.digest, function.version), epoch);
        }
    }

    /// The history is another now; nothing else is known of it.
    pub(crate) fn begin(&self, history: Option<u64>) {
        let mut known = self.lock();
        known.forgotten += 1;
        known.epochs.clear();
        known.history = history;
    }

    /// Forgets every version of the function with this digest.
    pub(crate) fn forget(&self, digest: u64) {
        let mut known = self.lock();
        known.forgotten += 1;
        known.epochs.retain(|(function, _), _| *function != digest);
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
