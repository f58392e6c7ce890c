//! The leases that a shard granted, and the leases that their loads wait for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use multi_tier_cached::tier::kit::lock;
use multi_tier_cached::tier::{
    AwaitedLease, BackOff, Deadlock, HeldLease, Lease, LeaseHeld, Target,
};

/// The waits that a shard notes. Clones are one graph.
#[derive(Clone, Debug, Default)]
pub(super) struct Waits(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    /// The tokens of the exclusive leases, by the names of their keys.
    held: HashMap<String, u64>,
    /// The leases that the loads under a lease wait for.
    edges: HashMap<(String, u64), Vec<AwaitedLease>>,
}

impl State {
    fn is_held(&self, name: &str, token: u64) -> bool {
        self.held.get(name) == Some(&token)
    }

    fn note(&mut self, held: &[HeldLease], awaited: &AwaitedLease) {
        for lease in held {
            let from = (lease.key.name(), lease.token);
            if self.is_held(&from.0, from.1) {
                let edges = self.edges.entry(from).or_default();
                edges.retain(|edge| edge != awaited);
                edges.push(awaited.clone());
            }
        }
    }

    fn forget(&mut self, held: &[HeldLease], awaited: &AwaitedLease) {
        for lease in held {
            if let Some(edges) = self.edges.get_mut(&(lease.key.name(), lease.token)) {
                edges.retain(|edge| edge != awaited);
            }
        }
    }

    fn waits_of(&self, lease: &AwaitedLease) -> Vec<AwaitedLease> {
        let from = (lease.name.clone(), lease.token);
        match self.is_held(&from.0, from.1) {
            true => self.edges.get(&from).cloned().unwrap_or_default(),
            false => Vec::new(),
        }
    }
}

impl Waits {
    /// Notes a lease that was granted, until the result is dropped.
    pub(super) fn hold(&self, name: String, lease: Lease) -> Lease {
        let (token, stamp, failures) = (lease.token, lease.stamp, lease.failures);
        lock(&self.0).held.insert(name.clone(), token);
        let held = Held {
            waits: self.clone(),
            name,
            token,
            lease: Some(lease),
        };
        Lease::new(token, stamp)
            .after_failures(failures)
            .held_by(held)
    }

    /// Notes that a lease was used, or is void.
    pub(super) fn end(&self, name: &str, token: u64) {
        let mut state = lock(&self.0);
        if state.is_held(name, token) {
            state.held.remove(name);
        }
        state.edges.remove(&(name.to_owned(), token));
    }

    pub(super) fn void(&self, target: Target<'_>) {
        let mut state = lock(&self.0);
        match target {
            Target::Key(key) => drop(state.held.remove(&key.name())),
            Target::Function(function) => {
                let prefix = function.versioned() + ":";
                state.held.retain(|name, _| !name.starts_with(&prefix));
            }
            Target::All => state.held.clear(),
        }
    }

    pub(super) fn holder(&self, name: &str) -> Option<u64> {
        lock(&self.0).held.get(name).copied()
    }

    pub(super) fn note(&self, held: &[HeldLease], awaited: &AwaitedLease) {
        lock(&self.0).note(held, awaited);
    }

    pub(super) fn forget(&self, held: &[HeldLease], awaited: &AwaitedLease) {
        lock(&self.0).forget(held, awaited);
    }

    pub(super) fn waits_of(&self, leases: &[AwaitedLease]) -> Vec<AwaitedLease> {
        let state = lock(&self.0);
        leases
            .iter()
            .flat_map(|lease| state.waits_of(lease))
            .collect()
    }

    /// Notes a wait for a lease of the shard with this index, and looks for a ring in this shard,
    /// in one step.
    pub(super) fn deadlock(&self, held: &[HeldLease], name: String, shard: u8) -> Deadlock {
        let mut state = lock(&self.0);
        let Some(token) = state.held.get(&name).copied() else {
            return Deadlock::Absent;
        };
        let awaited = AwaitedLease::new(shard, name, token);
        state.note(held, &awaited);
        let (mut open, mut seen) = (vec![awaited.clone()], Vec::new());
        while let Some(lease) = open.pop() {
            if held
                .iter()
                .any(|own| own.token == lease.token && own.key.name() == lease.name)
            {
                state.forget(held, &awaited);
                return Deadlock::Present;
            }
            if lease.shard == shard && !seen.contains(&lease) {
                open.extend(state.waits_of(&lease));
                seen.push(lease);
            }
        }
        Deadlock::Absent
    }
}

/// A lease that is noted while it is held.
struct Held {
    waits: Waits,
    name: String,
    token: u64,
    lease: Option<Lease>,
}

impl LeaseHeld for Held {
    fn load_failed(&mut self, back_off: Option<BackOff>) {
        if let Some(lease) = self.lease.take() {
            lease.load_failed(back_off);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.waits.end(&self.name, self.token);
    }
}
