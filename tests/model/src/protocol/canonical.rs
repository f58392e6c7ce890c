//! One form for all states that differ only in names.
//!
//! Tokens, numbers of fences and numbers of messages matter by their order alone, and some facts no
//! longer matter at all. States with the same canonical form have the same future.

use super::config::{KEYS, Protocol, UNNOTICED};
use super::state::{Instance, Lease, Load, Server, State};

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
                    *entry = entry.filter(|(_, start)| *start >= fence);
                }
            }
        }
    }

    /// Renames the tokens by the order in which they occur.
    fn rename_tokens(&mut self) {
        let mut known = Vec::new();
        self.each_token(|token| {
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
        let loads = self
            .instances
            .iter_mut()
            .filter_map(|one| one.load.as_mut());
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
        numbers.extend(self.memory.iter().flatten().map(|(_, start)| *start));
        numbers.extend(self.load.as_mut().map(|load| *load.start()));
        numbers.sort_unstable();
        numbers.dedup();
        let rank = |number: &mut u8| {
            let rank = numbers.iter().position(|known| known == number);
            *number = rank.unwrap_or(0) as u8;
        };
        self.fences.iter_mut().for_each(rank);
        rank(&mut self.raised);
        for (_, start) in self.memory.iter_mut().flatten() {
            rank(start);
        }
        if let Some(load) = &mut self.load {
            rank(load.start());
        }
    }

    /// Replaces the number of the link by 1. A lease is of this link or of another one, and which
    /// other one does not matter.
    fn compare_links(&mut self) {
        if let Some((_, link)) = self.load.as_mut().and_then(Load::lease) {
            *link = u8::from(*link == self.links);
        }
        self.links = 1;
    }
}

impl Load {
    fn start(&mut self) -> &mut u8 {
        match self {
            Self::Read { start, .. } | Self::Leased { start, .. } | Self::Loaded { start, .. } => {
                start
            }
        }
    }

    /// Returns the lease of a load and the link on which it was granted.
    fn lease(&mut self) -> Option<(&mut Lease, &mut u8)> {
        match self {
            Self::Read { .. } => None,
            Self::Leased { lease, link, .. } | Self::Loaded { lease, link, .. } => {
                Some((lease, link))
            }
        }
    }
}
