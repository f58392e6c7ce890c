//! Leases and guards of a store that one process uses: all who hold them are here, so they are kept in memory.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::{
    FunctionKey, Glob, Guard, GuardHeld, Lease, LeaseHeld, LeaseMode, LeaseResult, RecordKey,
    Refusal, Stamp, Target, Wakeup, Woken,
};

/// How long a guard that was dropped without an end goes on: a commit may still be under way.
const AFTER_DROP: Duration = Duration::from_secs(2);

/// A load that takes longer is taken for stuck by who waits for it.
const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

/// What a [`Tier`](super::Tier) that nobody else uses gives leases and guards from.
///
/// Such a tier asks it in [`lease`](super::Tier::lease), looks whether a lease [holds](Self::holds) and writes in one step of its
/// own (under a lock of the key), [voids](Self::void) before it removes, and takes its [guards](Self::guard) from it. They end
/// when they are dropped: there is nobody who could die with them.
#[derive(Default)]
pub struct LocalLeases(Mutex<State>);

impl fmt::Debug for LocalLeases {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalLeases")
    }
}

#[derive(Default)]
struct State {
    /// By key: as many as there are loads under way.
    keys: HashMap<String, Key>,
    next: u64,
    /// By key, then by guard: until when, of one that was dropped.
    guards: HashMap<String, HashMap<u64, Option<Instant>>>,
}

struct Key {
    function: String,
    tokens: Vec<u64>,
    /// Whether others wait for it.
    is_exclusive: bool,
    changed: Arc<Changed>,
}

/// Wakes those who wait for the leases of a key.
#[derive(Default)]
struct Changed {
    notify: Arc<Notify>,
    /// Set before the waiters are woken. Relaxed: the notification orders it.
    load_failed: AtomicBool,
}

/// Holds a lease; dropped, it gives it back.
struct Holder {
    leases: Arc<LocalLeases>,
    key: String,
    token: u64,
}

impl LocalLeases {
    /// Gives a lease with that stamp, unless the key is guarded or another has it.
    pub fn take(self: &Arc<Self>, key: &RecordKey, claim: LeaseMode, stamp: Stamp) -> LeaseResult {
        let mut state = self.lock();
        let name = key.name();
        if state.is_guarded(&name) {
            return LeaseResult::Refused(Refusal::Guard);
        }
        if claim == LeaseMode::Probe {
            // No lease has this number.
            return LeaseResult::Granted(Lease::new(0, stamp));
        }
        state.next += 1;
        let token = state.next;
        let held = state.keys.entry(name.clone()).or_insert_with(|| Key {
            function: key.function.versioned(),
            tokens: Vec::new(),
            is_exclusive: false,
            changed: Arc::default(),
        });
        match claim {
            // Blocks nobody, and waits for nobody: who asks for it may be what the other waits for.
            LeaseMode::Shared => {}
            LeaseMode::Exclusive if held.is_exclusive => {
                return LeaseResult::Held(wakeup(&held.changed));
            }
            // A refresh takes the place of all, a load that others wait for that of those that share.
            _ => {
                held.tokens.clear();
                held.is_exclusive = true;
            }
        }
        held.tokens.push(token);
        LeaseResult::Granted(Lease::new(token, stamp).held_by(Holder {
            leases: Arc::clone(self),
            key: name,
            token,
        }))
    }

    /// Whether any key is guarded.
    pub(crate) fn any(&self) -> bool {
        !self.lock().guards.is_empty()
    }

    /// Whether a key is guarded.
    #[must_use]
    pub fn is_guarded(&self, key: &RecordKey) -> bool {
        let state = self.lock();
        !state.guards.is_empty() && state.is_guarded(&key.name())
    }

    /// Whether the lease with this token holds, so that its key may be filled.
    #[must_use]
    pub fn holds(&self, key: &RecordKey, token: u64) -> bool {
        self.lock().holds(&key.name(), token)
    }

    /// The key was filled under the lease with this token: its leases are over, and who waits is woken. Nothing happens where the
    /// lease does not hold any more: those that do are of another load.
    pub fn used(&self, key: &RecordKey, token: u64) {
        let mut state = self.lock();
        let name = key.name();
        if state.holds(&name, token) {
            state.end(&name);
        }
    }

    /// Voids the leases of what is invalidated, and wakes who waits for them.
    pub fn void(&self, target: Target<'_>) {
        let mut state = self.lock();
        let voided: Vec<String> = match target {
            Target::Key(key) => vec![key.name()],
            Target::Function(function) => {
                let function = function.versioned();
                let of_function = state
                    .keys
                    .iter()
                    .filter(|(_, held)| held.function == function);
                of_function.map(|(key, _)| key.clone()).collect()
            }
            Target::All => state.keys.keys().cloned().collect(),
        };
        for key in voided {
            state.end(&key);
        }
    }

    /// The same for the keys of a function whose arguments match.
    pub fn void_matching(&self, function: &FunctionKey, glob: &Glob) {
        let mut state = self.lock();
        let prefix = function.versioned() + ":";
        let is_meant = |key: &&String| {
            key.strip_prefix(&prefix)
                .is_some_and(|arguments| glob.matches(arguments))
        };
        let voided: Vec<String> = state.keys.keys().filter(is_meant).cloned().collect();
        for key in voided {
            state.end(&key);
        }
    }

    /// Guards a key: voids its leases, and refuses others until the guard has ended. `owed` is run when it is dropped before its
    /// key was invalidated, and is to see to that; the guard goes on for two seconds then, for a commit that may be under way.
    pub fn guard(
        self: &Arc<Self>,
        key: &RecordKey,
        owed: impl FnOnce() + Send + Sync + 'static,
    ) -> Guard {
        let mut state = self.lock();
        let key = key.name();
        state.end(&key);
        state.next += 1;
        let number = state.next;
        let now = Instant::now();
        // Those that nobody asked for since they were over.
        state.guards.retain(|_, guards| {
            guards.retain(|_, until| until.is_none_or(|until| now < until));
            !guards.is_empty()
        });
        let guards = state.guards.entry(key.clone()).or_default();
        guards.insert(number, None);
        drop(state);
        Guard::new(GuardHolder {
            leases: Arc::clone(self),
            key,
            number,
            owed: Some(Box::new(owed)),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, key: &str) {
        if let Some(held) = self.keys.remove(key) {
            held.changed.notify.notify_waiters();
        }
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
    // Registered while the leases are locked, so that no change is missed.
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
    fn load_failed(&mut self) {
        if let Some(held) = self.leases.lock().keys.get(&self.key)
            && held.tokens.contains(&self.token)
        {
            held.changed.load_failed.store(true, Ordering::Relaxed);
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
            state.end(&self.key);
        }
    }
}

/// Holds a guard.
struct GuardHolder {
    leases: Arc<LocalLeases>,
    key: String,
    number: u64,
    owed: Option<Box<dyn FnOnce() + Send + Sync>>,
}

impl GuardHeld for GuardHolder {
    fn was_invalidated(&mut self) {
        self.owed = None;
    }
}

impl Drop for GuardHolder {
    fn drop(&mut self) {
        let is_over = self.owed.is_none();
        let mut state = self.leases.lock();
        if let Some(guards) = state.guards.get_mut(&self.key) {
            if is_over {
                guards.remove(&self.number);
            } else {
                guards.insert(self.number, Some(Instant::now() + AFTER_DROP));
            }
            if guards.is_empty() {
                state.guards.remove(&self.key);
            }
        }
        drop(state);
        if let Some(owed) = self.owed.take() {
            owed();
        }
    }
}
