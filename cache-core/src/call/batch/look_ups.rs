//! The look-ups of a batch in memory.

use std::any::Any;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;

use crate::cached_function::CachedFunction;
use crate::call_trace::{CallOutcome, TracedCalls};
use crate::clock::{Clock, Moment};
use crate::codec::ErasedType;
use crate::error::Error;
use crate::key::{ArgumentList, Arguments, CarriedHash, Key, KeyRef};
use crate::load::{Held, Look, Revalidated};

/// The look-ups of the ids of a batch in memory.
#[derive(Default)]
pub(crate) struct LookUps {
    /// The function in the runtime that the first look-up found. `None` before it.
    pub(super) function: Option<Arc<CachedFunction>>,
    pub(super) results: Results,
    /// When the look-ups began, if calls are traced.
    pub(super) began: Option<Moment>,
}

/// The results of the look-ups.
#[derive(Default)]
pub(super) struct Results {
    /// Set if the call can begin a load that outlives it.
    is_late: bool,
    /// Set if a value in memory is stale.
    has_stale: bool,
    /// The result of each id, in order.
    pub(super) found: Vec<Found>,
    /// The distinct keys that memory does not have, each with the place of its first id.
    pub(super) missing: Vec<(Option<Key>, usize)>,
    /// The place in `missing` of each key that is there, by the hash of the key. If another key has
    /// that hash, it is by the next number that is free.
    known: HashMap<u64, usize, CarriedHash>,
    /// The values that a load in the background is to replace, each with the place of its id.
    pub(super) revalidated: Vec<(Arc<Key>, usize, Revalidated)>,
}

/// The result that memory has for one id.
pub(super) enum Found {
    Value(Held),
    Absent,
    /// A kept error, as what an error can be made of.
    Failed(Arc<dyn Any + Send + Sync>),
    /// Nothing; the place of the key in [`Results::missing`].
    Missing(usize),
}

impl fmt::Debug for LookUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LookUps")
            .field("ids", &self.results.found.len())
            .finish_non_exhaustive()
    }
}

impl LookUps {
    /// Makes the look-ups of this many ids. `is_late` says that the call can begin a load that
    /// outlives it.
    pub(crate) fn new(ids: usize, is_late: bool) -> Self {
        let mut look_ups = Self {
            began: TracedCalls::are_on().then(|| Clock::System.fine()),
            ..Self::default()
        };
        look_ups.results.is_late = is_late;
        look_ups.results.found.reserve(ids);
        look_ups
    }

    /// Looks for the value of the next id, whose key has these arguments. `bind` is called once.
    #[inline]
    pub(crate) fn add(
        &mut self,
        bind: impl FnOnce() -> Arc<CachedFunction>,
        arguments: impl ArgumentList,
        value_type: &dyn ErasedType,
    ) {
        let Self {
            function, results, ..
        } = self;
        let function = function.get_or_insert_with(bind);
        let mut encoded = Arguments::empty(function.seed);
        match encoded.write(arguments) {
            Ok(()) => results.look_up(function, &encoded.key(function.id), value_type),
            Err(error) => results.add_without_key(function, &error),
        }
    }
}

impl Results {
    fn look_up(
        &mut self,
        function: &CachedFunction,
        key: &KeyRef<'_>,
        value_type: &dyn ErasedType,
    ) {
        let look = function.judge(key, self.is_late);
        self.has_stale |= look.is_stale();
        let found = match look {
            Look::Fresh(held) if value_type.is_of(&held) => Found::Value(held),
            Look::Stale { value, replaces } if value_type.is_of(&value) => {
                if let Some(revalidated) = replaces {
                    let key = Arc::new(KeyRef::to_owned(*key));
                    let place = self.found.len();
                    self.revalidated.push((key, place, revalidated));
                }
                Found::Value(value)
            }
            Look::Absent => Found::Absent,
            Look::Failed(error) => Found::Failed(error),
            Look::Fresh(_) | Look::Stale { .. } | Look::Miss => self.missing(key),
        };
        self.found.push(found);
    }

    /// Notes a key that memory does not have. A key that is there several times is loaded once.
    #[cold]
    fn missing(&mut self, key: &KeyRef<'_>) -> Found {
        let place = self.missing.len();
        if place == 0 {
            // Keys that are missing are mostly so together.
            let left = self.found.capacity() - self.found.len();
            self.missing.reserve(left);
            self.known.reserve(left);
        }
        let owned = KeyRef::to_owned(*key);
        let mut number = key.hash;
        let known = loop {
            match self.known.entry(number) {
                Entry::Vacant(free) => break *free.insert(place),
                Entry::Occupied(known) => {
                    let known = *known.get();
                    if self.missing[known].0.as_ref() == Some(&owned) {
                        break known;
                    }
                    number = number.wrapping_add(1);
                }
            }
        };
        if known == place {
            self.missing.push((Some(owned), self.found.len()));
        }
        Found::Missing(known)
    }

    /// Returns the outcome of a call whose values memory has all.
    pub(super) fn outcome(&self) -> CallOutcome {
        match self.has_stale {
            true => CallOutcome::Stale,
            false => CallOutcome::Hit,
        }
    }

    /// Returns `true` if each of the missing keys belongs to one id.
    pub(super) fn are_missing_distinct(&self) -> bool {
        let is_missing = |found: &&Found| matches!(found, Found::Missing(_));
        self.found.iter().filter(is_missing).count() == self.missing.len()
    }

    #[cold]
    fn add_without_key(&mut self, function: &CachedFunction, error: &Error) {
        function.report_missing_key(error);
        let place = self.missing.len();
        self.missing.push((None, self.found.len()));
        self.found.push(Found::Missing(place));
    }
}
