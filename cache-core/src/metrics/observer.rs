//! Recipients of single durations, for libraries that make histograms of their own.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use super::family::Family;
use crate::panics::for_each_despite_panics;

/// A recipient of each duration that the histograms of a runtime count: of the bodies, and of the
/// operations on tiers.
///
/// A histogram of [`samples`](crate::CacheRuntime::samples) has the same durations already counted.
/// An observer is for a library that takes them one by one.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Receives one duration. `attributes` are the values of the attributes of the `family`, in its
    /// order.
    ///
    /// It is called on the thread that ran the body or the operation, which waits for it. So it
    /// MUST NOT block.
    fn observe(&self, family: &'static Family, attributes: &[&str], took: Duration);
}

/// The observers of a runtime.
#[derive(Debug, Default)]
pub(crate) struct Observers {
    /// Set while there is an observer. Relaxed: an observation that is made while an observer is
    /// added or removed may reach it or not.
    are_any: AtomicBool,
    /// Replaced as a whole, so that no lock is held while observers run.
    all: RwLock<All>,
}

type All = Arc<[Arc<dyn Observer>]>;

impl Observers {
    /// Reports a duration to all observers. Nothing is done if there is none.
    pub(crate) fn observe(&self, family: &'static Family, attributes: &[&str], took: Duration) {
        if self.are_any.load(Ordering::Relaxed) {
            self.tell_all(family, attributes, took);
        }
    }

    #[cold]
    fn tell_all(&self, family: &'static Family, attributes: &[&str], took: Duration) {
        let all = Arc::clone(&self.all.read().unwrap_or_else(PoisonError::into_inner));
        for_each_despite_panics(&*all, |observer| {
            observer.observe(family, attributes, took);
        });
    }

    /// Adds an observer, which is removed when the result is dropped.
    pub(super) fn add(self: &Arc<Self>, observer: Arc<dyn Observer>) -> Observation {
        let added = Arc::clone(&observer);
        self.replace(|all| all.iter().cloned().chain([added]).collect());
        Observation {
            observers: Arc::clone(self),
            observer,
        }
    }

    fn replace(&self, change: impl FnOnce(&All) -> All) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let changed = change(&all);
        self.are_any.store(!changed.is_empty(), Ordering::Relaxed);
        let replaced = std::mem::replace(&mut *all, changed);
        drop(all);
        // Dropped after the lock is released, because the drop of an observer is user code.
        drop(replaced);
    }
}

/// An [`Observer`] that receives the durations of a runtime until this is dropped.
#[must_use = "the observer is removed when this is dropped"]
#[derive(Debug)]
pub struct Observation {
    observers: Arc<Observers>,
    observer: Arc<dyn Observer>,
}

impl Drop for Observation {
    fn drop(&mut self) {
        self.observers.replace(|all| {
            let others = all
                .iter()
                .filter(|other| !Arc::ptr_eq(other, &self.observer));
            others.cloned().collect()
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::metrics::families::LOAD_DURATION;

    #[derive(Debug, Default)]
    struct Counts(AtomicU64);

    impl Observer for Counts {
        fn observe(&self, _: &'static Family, _: &[&str], _: Duration) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn observer_receives_durations_until_its_observation_is_dropped() {
        let (observers, counts) = (Arc::<Observers>::default(), Arc::<Counts>::default());
        let observe = || observers.observe(&LOAD_DURATION, &["f", "value"], Duration::ZERO);
        observe();
        let first = observers.add(Arc::clone(&counts) as _);
        let second = observers.add(Arc::new(Counts::default()));
        observe();
        drop(second);
        observe();
        assert!(observers.are_any.load(Ordering::Relaxed));
        drop(first);
        observe();
        assert_eq!(counts.0.load(Ordering::Relaxed), 2);
        assert!(!observers.are_any.load(Ordering::Relaxed));
    }
}
