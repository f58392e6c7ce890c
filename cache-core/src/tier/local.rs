//! Leases, guards and back-offs of a store that one process uses. All their holders are in this
//! process, so they are kept in memory.

mod back_offs;

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use self::back_offs::BackOffs;
use super::inspection::{Inspection, LeaseSeen};
use super::key::{FunctionKey, RecordKey};
use super::kit::{LONGEST_LOAD, WakeOnDrop};
use super::lease::{
    BackOff, Guard, GuardHeld, Lease, LeaseHeld, LeaseMode, LeaseResult, Wakeup, Woken,
};
use super::operation::Target;
use crate::glob::Glob;
use crate::record::Stamp;
use crate::stats::Refusal;

/// How long a guard lasts after it was dropped without an end, because a commit may be in progress.
const AFTER_DROP: Duration = Duration::from_secs(2);

/// The leases, the guards and the [back-offs](BackOff) of a private [`Tier`](super::Tier).
///
/// The tier [takes](Self::take) leases from it, checks that a lease [holds](Self::holds) and writes
/// the record in one step (under a lock of the key), [voids](Self::void) leases before it deletes
/// records, and [guards](Self::guard) keys with it. Leases and guards end when they are dropped.
/// They need no expiry, because they cannot outlive the process.
/// [`kit::PrivateState`](super::kit::PrivateState) adds pending invalidations.
#[derive(Default)]
pub struct LocalLeases(Mutex<State>);

impl fmt::Debug for LocalLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalLeases")
    }
}

#[derive(Default)]
struct State {
    /// The leases by key. There are as many as loads in progress.
    keys: HashMap<String, Key>,
    next: u64,
    /// The guards by key, then by number. The time is when a guard ends that was dropped.
    guards: HashMap<String, HashMap<u64, Option<Instant>>>,
    back_offs: BackOffs,
}

/// The leases on one key.
struct Key {
    function: String,
    tokens: Vec<u64>,
    /// `true` if the lease is exclusive, so that other callers wait for it.
    is_exclusive: bool,
    changed: Arc<Changed>,
}

/// Wakes the waiters for the leases on a key.
#[derive(Default)]
struct Changed {
    notify: Arc<Notify>,
    /// Set before the waiters are woken. Relaxed: the notification orders it.
    load_failed: AtomicBool,
}

/// Releases a lease when it is dropped.
struct Holder {
    leases: Arc<LocalLeases>,
    key: String,
    token: u64,
}

impl LocalLeases {
    /// Grants a lease with this stamp, unless the key is guarded or backed off, or another caller
    /// holds the lease.
    pub fn take(self: &Arc<Self>, key: &RecordKey, mode: LeaseMode, stamp: Stamp) -> LeaseResult {
        let mut state = self.lock();
        let name = key.name();
        if state.is_guarded(&name) {
            return LeaseResult::Refused(Refusal::Guard);
        }
        if mode == LeaseMode::Probe {
            // No lease has this token, so nothing can be filled under it.
            return LeaseResult::Granted(Lease::new(0, stamp));
        }
        let held = state.keys.get(&name).filter(|held| held.is_exclusive);
        if mode.waits()
            && let Some(held) = held
        {
            return LeaseResult::Held(wakeup(&held.changed));
        }
        if mode == LeaseMode::Refresh
            && let Some(left) = state.back_offs.left(&name)
        {
            return LeaseResult::BackedOff(left);
        }
        let failures = state.back_offs.failures(&name);
        state.next += 1;
        let token = state.next;
        let held = state.keys.entry(name.clone()).or_insert_with(|| Key {
            function: key.function.versioned(),
            tokens: Vec::new(),
            is_exclusive: false,
            changed: Arc::default(),
        });
        match mode {
            // A shared lease does not wait for an exclusive one: its caller may be what the holder
            // of the exclusive lease waits for.
            LeaseMode::Shared => {}
            // A preempting lease replaces all others, and an exclusive one replaces shared ones.
            _ => {
                held.tokens.clear();
                held.is_exclusive = true;
            }
        }
        held.tokens.push(token);
        let lease = Lease::new(token, stamp).after_failures(failures);
        LeaseResult::Granted(lease.held_by(Holder {
            leases: Arc::clone(self),
            key: name,
            token,
        }))
    }

    /// Returns `true` if any key is guarded.
    pub(crate) fn any(&self) -> bool {
        !self.lock().guards.is_empty()
    }

    /// Returns `true` if the key is guarded.
    #[must_use]
    pub fn is_guarded(&self, key: &RecordKey) -> bool {
        let state = self.lock();
        !state.guards.is_empty() && state.is_guarded(&key.name())
    }

    /// Returns `true` if the lease with this token is valid, so that its key may be filled.
    #[must_use]
    pub fn holds(&self, key: &RecordKey, token: u64) -> bool {
        self.lock().holds(&key.name(), token)
    }

    /// Ends the leases and the back-off of a key after it was filled under the lease with this
    /// token. Does nothing if the lease is not valid any more, because the valid ones belong to
    /// another load then. The waiters wake when the result is dropped.
    pub fn used(&self, key: &RecordKey, token: u64) -> WakeOnDrop {
        let name = key.name();
        let mut state = self.lock();
        let is_valid = state.holds(&name, token);
        if is_valid {
            state.back_offs.end(&name);
        }
        state.end(is_valid.then_some(name))
    }

    /// Voids the leases on an invalidated target, and ends its back-offs. The waiters wake when the
    /// result is dropped.
    pub fn void(&self, target: Target<'_>) -> WakeOnDrop {
        let mut state = self.lock();
        let voided: Vec<String> = match target {
            Target::Key(key) => {
                let name = key.name();
                state.back_offs.end(&name);
                vec![name]
            }
            Target::Function(function) => {
                let function = function.versioned();
                let prefix = function.clone() + ":";
                state.back_offs.end_all(|key| key.starts_with(&prefix));
                let of_function = state
                    .keys
                    .iter()
                    .filter(|(_, held)| held.function == function);
                of_function.map(|(key, _)| key.clone()).collect()
            }
            Target::All => {
                state.back_offs = BackOffs::default();
                state.keys.keys().cloned().collect()
            }
        };
        state.end(voided)
    }

    /// Voids the leases on the keys of a function whose arguments match, and ends their back-offs.
    /// The waiters wake when the result is dropped.
    pub fn void_matching(&self, function: &FunctionKey, glob: &Glob) -> WakeOnDrop {
        let mut state = self.lock();
        let prefix = function.versioned() + ":";
        let is_meant = |key: &str| {
            key.strip_prefix(&prefix)
                .is_some_and(|arguments| glob.matches(arguments))
        };
        state.back_offs.end_all(is_meant);
        let voided = state.keys.keys().filter(|key| is_meant(key));
        let voided: Vec<String> = voided.cloned().collect();
        state.end(voided)
    }

    /// Guards a key: voids its leases, ends its back-off, and refuses leases until the guard ends.
    /// If the guard is dropped before its key was invalidated, `invalidate` runs, and the guard
    /// lasts two seconds longer for a commit that may be in progress.
    pub fn guard(
        self: &Arc<Self>,
        key: &RecordKey,
        invalidate: impl FnOnce() + Send + Sync + 'static,
    ) -> Guard {
        let mut state = self.lock();
        let key = key.name();
        state.back_offs.end(&key);
        let voided = state.end([key.clone()]);
        state.next += 1;
        let number = state.next;
        let now = Instant::now();
        // Remove the guards that have ended. No caller has asked for their keys since.
        state.guards.retain(|_, guards| {
            guards.retain(|_, until| until.is_none_or(|until| now < until));
            !guards.is_empty()
        });
        let guards = state.guards.entry(key.clone()).or_default();
        guards.insert(number, None);
        drop(state);
        drop(voided);
        Guard::new(GuardHolder {
            leases: Arc::clone(self),
            key,
            number,
            invalidate: Some(Box::new(invalidate)),
        })
    }

    /// Adds the leases, the guards and the back-off of a key to an inspection of it.
    #[must_use]
    pub fn inspected(&self, key: &RecordKey, seen: Inspection) -> Inspection {
        let (name, now) = (key.name(), Instant::now());
        let state = self.lock();
        let guards = state.guards.get(&name);
        let is_valid = |until: &&Option<Instant>| until.is_none_or(|until| now < until);
        let guards = guards.map_or(0, |guards| guards.values().filter(is_valid).count());
        // How many callers wait is not known.
        let held = state.keys.get(&name);
        Inspection {
            lease: held.map(|held| LeaseSeen::new(held.is_exclusive, false, None)),
            back_off: state.back_offs.left(&name),
            guards: Some(guards as u64),
            ..seen
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Ends the leases on these keys. The result must be dropped after the lock was released.
    fn end(&mut self, keys: impl IntoIterator<Item = String>) -> WakeOnDrop {
        let ended = keys.into_iter().filter_map(|key| self.keys.remove(&key));
        WakeOnDrop::new(ended.map(|held| Arc::clone(&held.changed.notify)))
    }

    fn holds(&self, key: &str, token: u64) -> bool {
        let held = self.keys.get(key);
        held.is_some_and(|held| held.tokens.contains(&token))
    }

    fn is_guarded(&self, key: &str) -> bool {
        let now = Instant::now();
        self.guards.get(key).is_some_and(|guards| {
            guards
                .values()
                .any(|until| until.is_none_or(|until| now < until))
        })
    }
}

fn wakeup(changed: &Arc<Changed>) -> Wakeup {
    let changed = Arc::clone(changed);
    // Registered while the leases are locked, so that no notification is missed.
    let mut notified = Box::pin(Arc::clone(&changed.notify).notified_owned());
    notified.as_mut().enable();
    Wakeup::telling(async move {
        let _ = timeout(LONGEST_LOAD, notified).await;
        match changed.load_failed.load(Ordering::Relaxed) {
            true => Woken::LoadFailed,
            false => Woken::LookAgain,
        }
    })
}

impl LeaseHeld for Holder {
    fn load_failed(&mut self, back_off: Option<BackOff>) {
        let mut state = self.leases.lock();
        let held = state.keys.get(&self.key);
        // A load whose lease is void failed to load an old state of the key.
        let Some(held) = held.filter(|held| held.tokens.contains(&self.token)) else {
            return;
        };
        held.changed.load_failed.store(true, Ordering::Relaxed);
        if let Some(back_off) = back_off {
            state.back_offs.keep(self.key.clone(), back_off);
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let mut state = self.leases.lock();
        let Some(held) = state.keys.get_mut(&self.key) else {
            return;
        };
        let before = held.tokens.len();
        held.tokens.retain(|token| *token != self.token);
        if before > 0 && held.tokens.is_empty() {
            let ended = state.end([self.key.clone()]);
            drop(state);
            drop(ended);
        }
    }
}

/// Ends a guard when it is dropped.
struct GuardHolder {
    leases: Arc<LocalLeases>,
    key: String,
    number: u64,
    /// Taken when the key was invalidated.
    invalidate: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl GuardHeld for GuardHolder {
    fn was_invalidated(&mut self) {
        self.invalidate = None;
    }
}

impl Drop for GuardHolder {
    fn drop(&mut self) {
        let was_invalidated = self.invalidate.is_none();
        let mut state = self.leases.lock();
        if let Some(guards) = state.guards.get_mut(&self.key) {
            if was_invalidated {
                guards.remove(&self.number);
            } else {
                guards.insert(self.number, Some(Instant::now() + AFTER_DROP));
            }
            if guards.is_empty() {
                state.guards.remove(&self.key);
            }
        }
        drop(state);
        // Called after the lock was released, because it invalidates the key.
        if let Some(invalidate) = self.invalidate.take() {
            invalidate();
        }
    }
}

#[cfg(test)]
mod tests;
