//! The epochs of the functions and the history, as this instance knows them. With them a hit reads
//! the record alone.
//!
//! They are valid while the channel is coherent, because its messages update them. A reply is
//! learned only if nothing was forgotten since the request was sent: the message that invalidates
//! the reply may have arrived before it.
//!
//! Replies are processed by the tasks of their callers, so not always in the order in which the
//! server sent them. If two replies to requests that overlap have different epochs, it is not known
//! which is the newer one, and the epoch is forgotten. Otherwise an old epoch could come back until
//! the message arrives: a caller that knew the new one may have loaded a value that is not stored,
//! and a later call would then find the old record valid.

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
    epochs: HashMap<(u64, u32), LastReply>,
    /// The number of times that a reply had another epoch than the reply before it.
    changes: u64,
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

/// The last reply that had the epoch of a function.
#[derive(Debug)]
struct LastReply {
    function: Arc<FunctionKey>,
    epoch: u64,
    /// `changes` as of the first of the replies with this epoch.
    since: u64,
    /// Set if the epoch is known. Otherwise it was forgotten, or the reply was not learned.
    is_known: bool,
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
    changes: u64,
    forgotten: u64,
    histories: u64,
}

impl Epochs {
    /// Returns the current moment. Call it before sending a request whose reply may be learned.
    pub(crate) fn mark(&self) -> Mark {
        let state = self.lock();
        Mark {
            changes: state.changes,
            forgotten: state.forgotten,
            histories: state.histories,
        }
    }

    /// Returns the stamp of a function's valid records.
    pub(crate) fn stamp(&self, function: &FunctionKey) -> Option<Stamp> {
        let state = self.lock();
        let reply = state.epochs.get(&(function.digest, function.version))?;
        reply.is_known.then_some(Stamp {
            epoch: reply.epoch,
            history: state.history?,
        })
    }

    /// Returns the history, and all known epochs with their functions; `None` without a history.
    pub(crate) fn all(&self) -> Option<(u64, KnownEpochs)> {
        let state = self.lock();
        let replies = state.epochs.values().filter(|reply| reply.is_known);
        let known = replies.map(|reply| (Arc::clone(&reply.function), reply.epoch));
        Some((state.history?, known.collect()))
    }

    /// Returns the history, if it is known.
    pub(crate) fn history(&self) -> Option<u64> {
        self.lock().history
    }

    /// Learns the epoch of a function from a reply, unless it was forgotten since the request, or
    /// another reply had another epoch since then.
    pub(crate) fn learn(&self, function: &Arc<FunctionKey>, epoch: u64, asked: Mark) {
        let mut state = self.lock();
        let key = (function.digest, function.version);
        let last = state.epochs.get(&key);
        let is_another = last.is_none_or(|last| last.epoch != epoch);
        if last.is_some_and(|last| is_another && last.since > asked.changes) {
            state.forget(function.digest);
            return;
        }
        let forgotten = (*state.stripes.of(function.digest)).max(state.all_forgotten);
        let is_known = forgotten <= asked.forgotten;
        if is_another {
            state.changes += 1;
            let reply = LastReply {
                function: Arc::clone(function),
                epoch,
                since: state.changes,
                is_known,
            };
            state.epochs.insert(key, reply);
        } else if let Some(last) = state.epochs.get_mut(&key) {
            last.is_known |= is_known;
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
        let is_epoch = |reply: &LastReply| reply.is_known && reply.epoch == epoch;
        if state.epochs.get(&key).is_some_and(is_epoch) {
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
        for ((function, _), reply) in &mut self.epochs {
            reply.is_known &= *function != digest;
        }
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

    /// Returns the epochs, without one of the function.
    fn without_epoch() -> (Epochs, Arc<FunctionKey>) {
        let epochs = Epochs::default();
        epochs.begin(Some(7));
        (epochs, Arc::new(FunctionKey::new("users::get", 1)))
    }

    fn epoch(epochs: &Epochs, function: &FunctionKey) -> Option<u64> {
        epochs.stamp(function).map(|stamp| stamp.epoch)
    }

    /// Both were asked for before an invalidation, which the server applied between them. Its
    /// message has not arrived yet.
    #[test]
    fn epochs_of_replies_that_may_be_processed_in_the_wrong_order_are_forgotten() {
        for replies in [[12, 11], [11, 12]] {
            let (epochs, function) = without_epoch();
            let asked = [epochs.mark(), epochs.mark()];
            for (reply, asked) in replies.into_iter().zip(asked) {
                epochs.learn(&function, reply, asked);
            }
            assert_eq!(epoch(&epochs, &function), None, "{replies:?}");
            epochs.learn(&function, 12, epochs.mark());
            assert_eq!(epoch(&epochs, &function), Some(12));
        }
    }

    #[test]
    fn old_epoch_is_not_learned_after_a_reply_that_was_not_learned_had_a_newer_one() {
        let (epochs, function) = without_epoch();
        let before = epochs.mark();
        epochs.forget(function.digest.wrapping_add(STRIPES as u64));
        let asked = epochs.mark();
        epochs.learn(&function, 12, before);
        assert_eq!(epoch(&epochs, &function), None);
        epochs.learn(&function, 11, asked);
        assert_eq!(epoch(&epochs, &function), None);
    }

    #[test]
    fn epoch_of_a_request_that_began_after_the_last_reply_is_learned() {
        let (epochs, function) = without_epoch();
        epochs.learn(&function, 11, epochs.mark());
        let asked = epochs.mark();
        epochs.learn(&function, 11, asked);
        epochs.learn(&function, 12, asked);
        assert_eq!(epoch(&epochs, &function), Some(12));
        let (_, known) = epochs.all().unwrap();
        assert_eq!(known, [(Arc::clone(&function), 12)]);
        epochs.forget_epoch(&function, 11);
        assert_eq!(epoch(&epochs, &function), Some(12));
        epochs.forget_epoch(&function, 12);
        assert_eq!(epoch(&epochs, &function), None);
        assert!(epochs.all().unwrap().1.is_empty());
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
