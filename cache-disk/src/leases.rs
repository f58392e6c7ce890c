//! Leases and guards. All who hold them are in this process, so they are kept in memory, and end when they are dropped.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cache_core::tier::{Claim, GuardHeld, Refusal, Target, Wakeup};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::store::{Name, function_name};

/// How long a guard that was dropped without an end goes on: a commit may still be under way.
const AFTER_DROP: Duration = Duration::from_secs(2);

/// A load that takes longer is taken for stuck by who waits for it.
const LONGEST_LOAD: Duration = Duration::from_secs(5 * 60);

#[derive(Default)]
pub(crate) struct Leases(Mutex<State>);

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
    changed: Arc<Notify>,
}

/// What asking for a lease comes to.
pub(crate) enum Answer {
    Given(Holder),
    Taken(Wakeup),
    Refused(Refusal),
}

/// Holds a lease; dropped, it gives it back.
pub(crate) struct Holder {
    leases: Arc<Leases>,
    key: String,
    pub(crate) token: u64,
}

impl Leases {
    pub(crate) fn take(self: &Arc<Self>, name: &Name, claim: Claim) -> Answer {
        let mut state = self.lock();
        if state.is_guarded(&name.record) {
            return Answer::Refused(Refusal::Guard);
        }
        state.next += 1;
        let token = state.next;
        let held = state
            .keys
            .entry(name.record.clone())
            .or_insert_with(|| Key {
                function: name.function.clone(),
                tokens: Vec::new(),
                is_exclusive: false,
                changed: Arc::default(),
            });
        match claim {
            Claim::Share if !held.is_exclusive => {}
            Claim::Only | Claim::Share if held.is_exclusive => {
                return Answer::Taken(wakeup(&held.changed));
            }
            // A refresh takes the place of all, a load that others wait for that of those that share.
            _ => {
                held.tokens.clear();
                held.is_exclusive = true;
            }
        }
        held.tokens.push(token);
        Answer::Given(Holder {
            leases: Arc::clone(self),
            key: name.record.clone(),
            token,
        })
    }

    /// Whether a lease holds, so that its key may be filled.
    pub(crate) fn holds(&self, key: &str, token: u64) -> bool {
        let state = self.lock();
        state
            .keys
            .get(key)
            .is_some_and(|held| held.tokens.contains(&token))
    }

    /// It was filled under.
    pub(crate) fn used(&self, key: &str) {
        self.lock().end(key);
    }

    /// Voids the leases of what was invalidated.
    pub(crate) fn void(&self, target: Target<'_>) {
        let mut state = self.lock();
        let voided: Vec<String> = match target {
            Target::Key(key) => vec![Name::of(key).record],
            Target::Function(function) => {
                let function = function_name(function);
                let of_function = state
                    .keys
                    .iter()
                    .filter(|(_, held)| held.function == function);
                of_function.map(|(key, _)| key.clone()).collect()
            }
            _ => state.keys.keys().cloned().collect(),
        };
        for key in voided {
            state.end(&key);
        }
    }

    pub(crate) fn guard(self: &Arc<Self>, key: &str, owed: GuardOwes) -> GuardHolder {
        let mut state = self.lock();
        state.end(key);
        state.next += 1;
        let number = state.next;
        let now = Instant::now();
        // Those that nobody asked for since they were over.
        state.guards.retain(|_, guards| {
            guards.retain(|_, until| until.is_none_or(|until| now < until));
            !guards.is_empty()
        });
        let guards = state.guards.entry(key.to_owned()).or_default();
        guards.insert(number, None);
        GuardHolder {
            leases: Arc::clone(self),
            key: key.to_owned(),
            number,
            owes: Some(owed),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn end(&mut self, key: &str) {
        if let Some(held) = self.keys.remove(key) {
            held.changed.notify_waiters();
        }
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

fn wakeup(changed: &Arc<Notify>) -> Wakeup {
    // In its place from now on.
    let mut rung = Box::pin(Arc::clone(changed).notified_owned());
    rung.as_mut().enable();
    Wakeup::new(async move {
        let _ = timeout(LONGEST_LOAD, rung).await;
    })
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

/// What a guard that is dropped without an end is to invalidate.
pub(crate) type GuardOwes = Box<dyn FnOnce() + Send + Sync>;

/// Holds a guard.
pub(crate) struct GuardHolder {
    leases: Arc<Leases>,
    key: String,
    number: u64,
    owes: Option<GuardOwes>,
}

impl GuardHeld for GuardHolder {
    fn was_invalidated(&mut self) {
        self.owes = None;
    }
}

impl Drop for GuardHolder {
    fn drop(&mut self) {
        let is_over = self.owes.is_none();
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
        if let Some(owes) = self.owes.take() {
            owes();
        }
    }
}
