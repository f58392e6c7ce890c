//! Invalidations that the server may not know: those it has not acknowledged, and those of the last moments, which a server that
//! takes its place may have lost.
//!
//! Nothing is ever dropped from it. Where there are too many keys of a function they become the function, and where there are
//! too many functions they become all.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{FunctionKey, RecordKey, Target};
use tokio::sync::Notify;
use tokio::time::Instant;

use crate::spool::Spool;

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

    /// Bytes that say the same.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut function = |kind: u8, function: &FunctionName| {
            bytes.push(kind);
            bytes.extend(function.version.to_le_bytes());
            bytes.extend(function.digest.to_le_bytes());
            let len = u32::try_from(function.name.len()).unwrap_or(u32::MAX);
            bytes.extend(len.to_le_bytes());
            bytes.extend(function.name.as_bytes());
        };
        match self {
            Self::All => bytes.push(b'a'),
            Self::Function(name) => function(b'f', name),
            Self::Key(name, arguments, digest) => {
                function(b'k', name);
                bytes.extend(digest.to_le_bytes());
                bytes.extend(arguments.as_bytes());
            }
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == b'a' {
            return Some(Self::All);
        }
        let (version, rest) = rest.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let function = Arc::new(FunctionName {
            name: String::from_utf8(name.to_vec()).ok()?,
            version: u32::from_le_bytes(*version),
            digest: u64::from_le_bytes(*digest),
        });
        match kind {
            b'f' => Some(Self::Function(function)),
            b'k' => {
                let (digest, arguments) = rest.split_first_chunk()?;
                let arguments = String::from_utf8(arguments.to_vec()).ok()?;
                Some(Self::Key(function, arguments, u64::from_le_bytes(*digest)))
            }
            _ => None,
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

/// A set of them that collapses instead of growing. Each has the number under which it was last put in.
#[derive(Debug, Default)]
struct Collapsing {
    all: Option<u64>,
    functions: HashMap<Arc<FunctionName>, u64>,
    /// By function, then by arguments, with the digest.
    keys: HashMap<Arc<FunctionName>, HashMap<String, (u64, u64)>>,
    number_of_keys: usize,
}

/// One of them that is to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Queued {
    pub(crate) what: Invalidated,
    number: u64,
}

impl Collapsing {
    fn insert(&mut self, what: Invalidated, number: u64, most: usize) {
        if let Some(all) = &mut self.all {
            *all = number;
            return;
        }
        match what {
            Invalidated::All => {
                *self = Self {
                    all: Some(number),
                    ..Self::default()
                };
            }
            Invalidated::Function(function) => {
                if let Some(keys) = self.keys.remove(&function) {
                    self.number_of_keys -= keys.len();
                }
                self.functions.insert(function, number);
                if self.functions.len() > most {
                    self.insert(Invalidated::All, number, most);
                }
            }
            Invalidated::Key(function, arguments, digest) => {
                if let Some(known) = self.functions.get_mut(&function) {
                    *known = number;
                    return;
                }
                let keys = self.keys.entry(function).or_default();
                if keys.insert(arguments, (digest, number)).is_none() {
                    self.number_of_keys += 1;
                }
                if self.number_of_keys > most {
                    let largest = self.keys.iter().max_by_key(|(_, keys)| keys.len());
                    if let Some(largest) = largest.map(|(function, _)| Arc::clone(function)) {
                        self.insert(Invalidated::Function(largest), number, most);
                    }
                }
            }
        }
    }

    /// Takes one out, unless it was put in again since.
    fn remove(&mut self, Queued { what, number }: &Queued) {
        match what {
            Invalidated::All => {
                self.all.take_if(|known| known == number);
            }
            Invalidated::Function(function) => {
                if self.functions.get(function) == Some(number) {
                    self.functions.remove(function);
                }
            }
            Invalidated::Key(function, arguments, _) => {
                let Some(keys) = self.keys.get_mut(function) else {
                    return;
                };
                if keys
                    .get(arguments)
                    .is_some_and(|(_, known)| known == number)
                {
                    keys.remove(arguments);
                    self.number_of_keys -= 1;
                }
                if keys.is_empty() {
                    self.keys.remove(function);
                }
            }
        }
    }

    fn covers(&self, key: &RecordKey) -> bool {
        if self.is_empty() {
            return false;
        }
        let function = FunctionName::from(&*key.function);
        self.all.is_some()
            || self.functions.contains_key(&function)
            || self
                .keys
                .get(&function)
                .is_some_and(|keys| keys.contains_key(&key.arguments))
    }

    fn is_empty(&self) -> bool {
        self.all.is_none() && self.functions.is_empty() && self.keys.is_empty()
    }

    fn len(&self) -> usize {
        usize::from(self.all.is_some()) + self.functions.len() + self.number_of_keys
    }

    fn list(&self) -> Vec<Queued> {
        let queued = |what, number: &u64| Queued {
            what,
            number: *number,
        };
        let all = self
            .all
            .iter()
            .map(|number| queued(Invalidated::All, number));
        let functions = self
            .functions
            .iter()
            .map(|(function, number)| queued(Invalidated::Function(Arc::clone(function)), number));
        let keys = self.keys.iter().flat_map(|(function, keys)| {
            keys.iter().map(move |(arguments, (digest, number))| {
                let what = Invalidated::Key(Arc::clone(function), arguments.clone(), *digest);
                queued(what, number)
            })
        });
        all.chain(functions).chain(keys).collect()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Journal {
    state: Mutex<State>,
    /// Where what is queued outlives this process. Locked before the state, where both are.
    spool: Mutex<Option<Spool>>,
    /// Rung when nothing is queued any more, and when nothing will be sent any more.
    drained: Notify,
    is_closed: AtomicBool,
    /// Rung when something is.
    queued: Notify,
}

#[derive(Debug, Default)]
struct State {
    queued: Collapsing,
    /// What was acknowledged, in two spans of time, the newer first: each is dropped whole.
    recent: [Collapsing; 2],
    turned: Option<Instant>,
    /// Of what was last put in.
    number: u64,
}

impl Journal {
    /// With a file, and what is in it queued.
    pub(crate) fn with_file(path: &Path) -> Result<Self, Error> {
        let (spool, found) = Spool::open(path)?;
        let journal = Self {
            spool: Mutex::new(Some(spool)),
            ..Self::default()
        };
        for what in found {
            journal.lock().queue(what);
        }
        Ok(journal)
    }

    /// Whether it writes to a disk, which takes its time.
    pub(crate) fn has_file(&self) -> bool {
        self.lock_spool().is_some()
    }

    /// The server does not know of it, or may not. When this has returned it is in the file, if there is one.
    pub(crate) fn queue(&self, what: Invalidated) {
        self.lock().queue(what.clone());
        self.queued.notify_one();
        if let Some(spool) = &mut *self.lock_spool() {
            let mut written = spool.append(&what);
            if written.is_ok() && spool.is_large() {
                let all = self.queued().into_iter().map(|queued| queued.what);
                written = spool.replace(all);
            }
            report(written);
        }
    }

    /// Nothing is sent any more, and the file is left to the next process.
    pub(crate) fn close(&self) {
        *self.lock_spool() = None;
        self.is_closed.store(true, Ordering::SeqCst);
        self.drained.notify_waiters();
    }

    /// Empties the file, unless something is queued.
    fn empty_file(&self) {
        if let Some(spool) = &mut *self.lock_spool()
            && self.len() == 0
        {
            report(spool.replace(std::iter::empty()));
        }
    }

    /// The server knows of it.
    pub(crate) fn acknowledged(&self, what: Invalidated) {
        let mut state = self.lock();
        state.turn(Instant::now());
        state.recent[0].insert(what, 0, MOST);
    }

    /// Whether a record of the key may be one that a queued invalidation was to delete.
    pub(crate) fn covers(&self, key: &RecordKey) -> bool {
        self.lock().queued.covers(key)
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().queued.len()
    }

    /// Puts the recent ones back among the queued: the server may have lost them. Recent is what was acknowledged in the last
    /// span of time in which anything was: while a server is away nothing is, and that may be long. How many are queued now.
    pub(crate) fn recall(&self) -> usize {
        let mut state = self.lock();
        let recent: Vec<_> = state.recent.iter().flat_map(Collapsing::list).collect();
        for Queued { what, .. } in recent {
            state.queue(what);
        }
        state.queued.len()
    }

    /// All that is queued, to be sent; it stays queued until it is said to be [`sent`](Self::sent).
    pub(crate) fn queued(&self) -> Vec<Queued> {
        self.lock().queued.list()
    }

    /// These were sent and acknowledged. What was queued again since they were listed is sent again: it may be of a later
    /// change.
    pub(crate) fn sent(&self, list: Vec<Queued>) {
        let mut state = self.lock();
        state.turn(Instant::now());
        for queued in list {
            state.queued.remove(&queued);
            state.recent[0].insert(queued.what, 0, MOST);
        }
        if state.queued.is_empty() {
            drop(state);
            self.empty_file();
            self.drained.notify_waiters();
        }
    }

    /// Ends when nothing is queued, or with `false` when what is will not be sent any more.
    pub(crate) async fn drained(&self) -> bool {
        loop {
            let drained = self.drained.notified();
            if self.len() == 0 {
                return true;
            }
            if self.is_closed.load(Ordering::SeqCst) {
                return false;
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

    fn lock_spool(&self) -> MutexGuard<'_, Option<Spool>> {
        self.spool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn report(written: std::io::Result<()>) {
    if let Err(error) = written {
        tracing::error!(error = %error, "an invalidation that waits is not in the journal's file: it does not outlive this process");
    }
}

impl State {
    fn queue(&mut self, what: Invalidated) {
        self.number += 1;
        self.queued.insert(what, self.number, MOST);
    }

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
            set.insert(invalidated("a", &n.to_string()), 1, 10);
        }
        set.insert(invalidated("b", "1"), 1, 10);
        assert!(
            set.covers(&key("a", "99")),
            "the function is in it as a whole"
        );
        assert!(set.covers(&key("b", "1")) && !set.covers(&key("b", "2")));
        assert_eq!(set.len(), 2);
        for function in 0..11 {
            let function = FunctionKey::new(&format!("f{function}"), 1);
            set.insert(Invalidated::of(Target::Function(&function)), 1, 10);
        }
        assert_eq!(names(set.list()), [Invalidated::All]);
        assert!(set.covers(&key("c", "1")));
    }

    fn names(list: Vec<Queued>) -> Vec<Invalidated> {
        list.into_iter().map(|queued| queued.what).collect()
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
        assert_eq!(names(journal.queued()), [invalidated("a", "3")]);
        assert!(journal.covers(&key("a", "3")) && !journal.covers(&key("a", "1")));
        journal.sent(journal.queued());
        assert!(journal.drained().await);
        journal.queue(invalidated("a", "1"));
        journal.close();
        assert!(!journal.drained().await, "nobody sends it");
    }

    /// The one that was sent may have been executed before the change that the other is of.
    #[test]
    fn what_is_queued_again_while_it_is_sent_is_sent_again() {
        let function = Invalidated::of(Target::Function(&FunctionKey::new("b", 1)));
        for what in [invalidated("a", "1"), function, Invalidated::All] {
            let journal = Journal::default();
            journal.queue(what.clone());
            let list = journal.queued();
            journal.queue(what.clone());
            journal.sent(list);
            assert_eq!(names(journal.queued()), std::slice::from_ref(&what));
            journal.sent(journal.queued());
            assert_eq!(journal.len(), 0);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_acknowledged_is_recalled_for_a_while() {
        let journal = Journal::default();
        journal.acknowledged(invalidated("a", "1"));
        tokio::time::advance(KEPT).await;
        assert_eq!(journal.recall(), 1, "at least as long as it is to be kept");
        assert!(journal.covers(&key("a", "1")));
        journal.sent(journal.queued());
        tokio::time::advance(KEPT * 10).await;
        assert_eq!(journal.recall(), 1, "none was acknowledged since");
        journal.sent(journal.queued());
        tokio::time::advance(KEPT * 2).await;
        journal.acknowledged(invalidated("a", "2"));
        assert_eq!(journal.recall(), 1, "the older one is over");
    }
}
