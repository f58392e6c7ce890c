//! One form for all states that differ only in names.
//!
//! Tokens, numbers of fences and numbers of messages matter by their order alone, and some facts no
//! longer matter at all. States with the same canonical form have the same future.

use super::config::{KEYS, Protocol, UNNOTICED};
use super::load::{BACK_OFF, Load, Stale, Waiter};
use super::state::{Instance, Server, State};

impl Protocol {
    /// Returns the canonical form of a state.
    pub(super) fn canonical(&self, mut state: State) -> State {
        state.drop_what_no_longer_matters(self);
        for instance in &mut state.instances {
            instance.rank_fences();
            instance.compare_links();
        }
        let has_more_failovers = state.failed < self.failovers;
        if !has_more_failovers {
            // The replica is not promoted any more, so its data do not matter.
            state.replica = Server {
                identity: state.replica.identity,
                records: [None; KEYS],
                leases: [None; KEYS],
                ..state.primary.clone()
            };
        }
        state.rename_tokens();
        state.rename_numbers();
        state
    }
}

impl State {
    fn drop_what_no_longer_matters(&mut self, protocol: &Protocol) {
        let now = self.now;
        // The age of an acknowledgement matters only up to the bound.
        for (.., when) in &mut self.acknowledged {
            *when = (*when).max(now.saturating_sub(protocol.bound + UNNOTICED + 1));
        }
        for instance in &mut self.instances {
            // A barrier that is no longer valid is as good as none.
            instance.proved = instance
                .proved
                .filter(|proved| now <= proved + protocol.bound);
            // So is an entry that its fence has outdated.
            if protocol.guards.fence {
                let fences = instance.fences;
                for (entry, fence) in instance.memory.iter_mut().zip(fences) {
                    *entry = entry.filter(|entry| entry.start >= fence);
                }
            }
        }
        if protocol.windows.is_some() {
            self.drop_what_no_call_returns(protocol);
        }
    }

    fn drop_what_no_call_returns(&mut self, protocol: &Protocol) {
        let (guards, is_served) = (&protocol.guards, protocol.serves_if_error());
        let refreshed: Vec<_> = (0..KEYS as u8).map(|key| self.refreshes(key)).collect();
        for (at, instance) in self.instances.iter_mut().enumerate() {
            if !protocol.calls.contains(&(at as u8)) {
                instance.inbox.clear();
                instance.proved = None;
                instance.epoch = None;
            }
            let fences = instance.fences;
            let is_outdated = |key: u8, stale: Stale| {
                guards.stale_fence && stale.start < fences[usize::from(key)]
            };
            for load in instance.loads() {
                let key = load.key;
                // A load that was overtaken does not count as a refresh.
                load.is_refresh &= refreshed[usize::from(key)];
                let is_kept = |stale: &Stale| is_served && !is_outdated(key, *stale);
                load.stale = load.stale.filter(is_kept);
            }
            if guards.waiter_checks
                && let Some(Waiter::HasStale { key, stale }) = instance.waiter
                && is_outdated(key, stale)
            {
                instance.waiter = None;
            }
        }
    }

    /// Renames the tokens by the order in which they occur.
    fn rename_tokens(&mut self) {
        let mut known = Vec::new();
        self.each_token(|token| {
            if *token == BACK_OFF {
                return;
            }
            let at = known.iter().position(|other| other == token);
            let at = at.unwrap_or_else(|| {
                known.push(*token);
                known.len() - 1
            });
            *token = at as u8 + 1;
        });
        self.tokens = known.len() as u8;
    }

    fn each_token(&mut self, mut visit: impl FnMut(&mut u8)) {
        let servers = [
            Some(&mut self.primary),
            Some(&mut self.replica),
            self.old.as_mut().map(|(old, _)| old),
        ];
        let servers = servers.into_iter().flatten();
        for lease in servers.flat_map(|server| server.leases.iter_mut().flatten()) {
            visit(&mut lease.token);
        }
        let loads = self.instances.iter_mut().flat_map(Instance::loads);
        for (lease, _) in loads.filter_map(Load::lease) {
            visit(&mut lease.token);
        }
    }
}

impl Instance {
    /// Replaces the numbers of fences by their ranks.
    fn rank_fences(&mut self) {
        let mut numbers: Vec<u8> = self.fences.to_vec();
        numbers.push(self.raised);
        self.each_start(|start| numbers.push(*start));
        numbers.sort_unstable();
        numbers.dedup();
        let rank = |number: &mut u8| {
            let rank = numbers.iter().position(|known| known == number);
            *number = rank.unwrap_or(0) as u8;
        };
        self.fences.iter_mut().for_each(rank);
        rank(&mut self.raised);
        self.each_start(rank);
    }

    fn each_start(&mut self, mut visit: impl FnMut(&mut u8)) {
        for entry in self.memory.iter_mut().flatten() {
            visit(&mut entry.start);
        }
        for load in self.loads() {
            visit(&mut load.start);
            load.stale
                .iter_mut()
                .for_each(|stale| visit(&mut stale.start));
        }
        if let Some(Waiter::HasStale { stale, .. }) = &mut self.waiter {
            visit(&mut stale.start);
        }
    }

    /// Replaces the number of the link by 1. A lease is of this link or of another one, and which
    /// other one does not matter.
    fn compare_links(&mut self) {
        let links = self.links;
        for (_, link) in self.loads().filter_map(Load::lease) {
            *link = u8::from(*link == links);
        }
        self.links = 1;
    }
}
