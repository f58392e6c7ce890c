//! Invalidations that the server may not know: those it has not acknowledged, and those of the last moments, which a server that
//! takes its place may have lost.
//!
//! Nothing is ever dropped from it. Where there are too many keys of a function they become the function, and where there are
//! too many functions they become all.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::{FunctionKey, RecordKey, Target};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How long an acknowledged one is kept: longer than a replica may lag behind (`min-replicas-max-lag` is ten seconds).
const KEPT: Duration = Duration::from_secs(30);

/// Most keys, and most functions, before they become something coarser.
const MOST: usize = 1 << 16;

/// What was invalidated, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Invalidated {
    Key(Arc<FunctionName>, String, u64),
    Function(Arc<FunctionName>),
    All,
}

/// A function, to be told from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionName {
    name: String,
    version: u32,
    digest: u64,
}

impl From<&FunctionKey> for FunctionName {
    fn from(function: &FunctionKey) -> Self {
        Self {
            name: function.name.clone(),
            version: function.version,
            digest: function.digest,
        }
    }
}

impl FunctionName {
    fn key(&self) -> FunctionKey {
        FunctionKey::named(self.name.clone(), self.version, self.digest)
    }
}

impl Invalidated {
    pub(crate) fn of(target: Target<'_>) -> Self {
        match target {
            Target::Key(key) => Self::Key(
                Arc::new(FunctionName::from(&*key.function)),
                key.arguments.clone(),
                key.digest,
            ),
            Target::Function(function) => Self::Function(Arc::new(function.into())),
            // What is not known is taken for all.
            _ => Self::All,
        }
    }

    /// Hands it on as a target.
    pub(crate) fn with_target<T>(&self, then: impl FnOnce(Target<'_>) -> T) -> T {
        match self {
            Self::Key(function, arguments, digest) => then(Target::Key(&RecordKey::new(
                Arc::new(function.key()),
                arguments.clone(),
                *digest,
            ))),
            Self::Function(function) => then(Target::Function(&function.key())),
            Self::All => then(Target::All),
        }
    }
}

/// A set of them that collapses instead of growing.
#[derive(Debug, Default)]
struct Collapsing {
    all: bool,
    functions: HashSet<Arc<FunctionName>>,
    /// By function, then by arguments, with the digest.
    keys: HashMap<Arc<FunctionName>, HashMap<String, u64>>,
    number_of_keys: usize,
}

impl Collapsing {
    fn insert(&mut self, what: Invalidated, most: usize) {
        if self.all {
            return;
        }
        match what {
            Invalidated::All => {
                *self = Self {
                    all: true,
                    ..Self::default()
                };
            }
            Invalidated::Function(function) => {
                if let Some(keys) = self.keys.remove(&function) {
                    self.number_of_keys -= keys.len();
                }
                self.functions.insert(function);
                if self.functions.len() > most {
                    self.insert(Invalidated::All, most);
                }
            }
            Invalidated::Key(function, arguments, digest) => {
                if self.functions.contains(&function) {
                    return;
                }
                let keys = self.keys.entry(function).or_default();
                if keys.insert(arguments, digest).is_none() {
                    self.number_of_keys += 1;
                }
                if self.number_of_keys > most {
                    let largest = self.keys.iter().max_by_key(|(_, keys)| keys.len());
                    if let Some(largest) = largest.map(|(function, _)| Arc::clone(function)) {
                        self.insert(Invalidated::Function(largest), most);
                    }
                }
            }
        }
    }

    fn covers(&self, key: &RecordKey) -> bool {
        if self.is_empty() {
            return false;
        }
        let function = FunctionName::from(&*key.function);
        self.all
            || self.functions.contains(&function)
            || self
                .keys
                .get(&function)
                .is_some_and(|keys| keys.contains_key(&key.arguments))
    }

    fn is_empty(&self) -> bool {
        !self.all && self.functions.is_empty() && self.keys.is_empty()
    }

    fn len(&self) -> usize {
        usize::from(self.all) + self.functions.len() + self.number_of_keys
    }

    fn list(&self) -> Vec<Invalidated> {
        let all = self.all.then_some(Invalidated::All);
        let functions = self.functions.iter().cloned().map(Invalidated::Function);
        let keys = self.keys.iter().flat_map(|(function, keys)| {
            keys.iter().map(|(arguments, digest)| {
                Invalidated::Key(Arc::clone(function), arguments.clone(), *digest)
            })
        });
        all.into_iter().chain(functions).chain(keys).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    state: Mutex<State>,
    /// Rung when nothing is queued any more.
    drained: Notify,
    /// Rung when something is.
    queued: Notify,
}

#[derive(Debug, Default)]
struct State {
    queued: Collapsing,
    /// What was acknowledged, in two spans of time, the newer first: each is dropped whole.
    recent: [Collapsing; 2],
    turned: Option<Instant>,
}

impl Journal {
    /// The server does not know of it, or may not.
    pub(crate) fn queue(&self, what: Invalidated) {
        self.lock().queued.insert(what, MOST);
        self.queued.notify_one();
    }

    /// The server knows of it.
    pub(crate) fn acknowledged(&self, what: Invalidated) {
        let mut state = self.lock();
        state.turn(Instant::now());
        state.recent[0].insert(what, MOST);
    }

    /// Whether a record of the key may be one that a queued invalidation was to delete.
    pub(crate) fn covers(&self, key: &RecordKey) -> bool {
        self.lock().queued.covers(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().queued.len()
    }

    /// Puts the recent ones back among the queued: the server may have lost them.
    pub(crate) fn recall(&self) -> usize {
        let mut state = self.lock();
        state.turn(Instant::now());
        let recent: Vec<_> = state.recent.iter().flat_map(Collapsing::list).collect();
        for what in &recent {
            state.queued.insert(what.clone(), MOST);
        }
        recent.len()
    }

    /// Takes all that is queued, to be sent. While it is out it does not [cover](Self::covers): the caller holds the link back.
    pub(crate) fn queued(&self) -> Vec<Invalidated> {
        self.lock().queued.list()
    }

    /// These were sent and acknowledged. What was queued again meanwhile is sent again, which does no harm.
    pub(crate) fn sent(&self, list: Vec<Invalidated>) {
        let mut state = self.lock();
        let all = std::mem::take(&mut state.queued).list();
        let sent: HashSet<_> = list.iter().collect();
        for what in all {
            if !sent.contains(&what) {
                state.queued.insert(what, MOST);
            }
        }
        state.turn(Instant::now());
        for what in list {
            state.recent[0].insert(what, MOST);
        }
        if state.queued.is_empty() {
            drop(state);
            self.drained.notify_waiters();
        }
    }

    /// Ends when nothing is queued.
    pub(crate) async fn drained(&self) {
        loop {
            let drained = self.drained.notified();
            if self.len() == 0 {
                return;
            }
            drained.await;
        }
    }

    /// Lets what is queued be sent again.
    pub(crate) fn ring(&self) {
        self.queued.notify_one();
    }

    /// Ends when something is queued.
    pub(crate) async fn has_queued(&self) {
        self.queued.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Drops what is older than it need be kept.
    fn turn(&mut self, now: Instant) {
        let turned = *self.turned.get_or_insert(now);
        let spans = now.duration_since(turned).as_secs() / KEPT.as_secs();
        if spans > 0 {
            let newer = std::mem::take(&mut self.recent[0]);
            self.recent[1] = if spans == 1 {
                newer
            } else {
                Collapsing::default()
            };
            self.turned = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(function: &str, arguments: &str) -> RecordKey {
        RecordKey::new(Arc::new(FunctionKey::new(function, 1)), arguments.into(), 0)
    }

    fn invalidated(function: &str, arguments: &str) -> Invalidated {
        Invalidated::of(Target::Key(&key(function, arguments)))
    }

    #[test]
    fn too_many_become_something_coarser_and_none_is_lost() {
        let mut set = Collapsing::default();
        for n in 0..10 {
            set.insert(invalidated("a", &n.to_string()), 10);
        }
        set.insert(invalidated("b", "1"), 10);
        assert!(
            set.covers(&key("a", "99")),
            "the function is in it as a whole"
        );
        assert!(set.covers(&key("b", "1")) && !set.covers(&key("b", "2")));
        assert_eq!(set.len(), 2);
        for function in 0..11 {
            let function = FunctionKey::new(&format!("f{function}"), 1);
            set.insert(Invalidated::of(Target::Function(&function)), 10);
        }
        assert_eq!(set.list(), [Invalidated::All]);
        assert!(set.covers(&key("c", "1")));
    }

    #[tokio::test]
    async fn what_is_queued_stays_until_it_was_sent() {
        let journal = Journal::default();
        journal.queue(invalidated("a", "1"));
        journal.queue(invalidated("a", "1"));
        journal.queue(invalidated("a", "2"));
        assert_eq!(journal.len(), 2);
        let list = journal.queued();
        journal.queue(invalidated("a", "3"));
        journal.sent(list);
        assert_eq!(journal.queued(), [invalidated("a", "3")]);
        assert!(journal.covers(&key("a", "3")) && !journal.covers(&key("a", "1")));
        journal.sent(journal.queued());
        journal.drained().await;
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_acknowledged_is_recalled_for_a_while() {
        let journal = Journal::default();
        journal.acknowledged(invalidated("a", "1"));
        tokio::time::advance(KEPT).await;
        assert_eq!(journal.recall(), 1, "at least as long as it is to be kept");
        assert!(journal.covers(&key("a", "1")));
        journal.sent(journal.queued());
        tokio::time::advance(KEPT * 2).await;
        assert_eq!(journal.recall(), 0);
    }
}
