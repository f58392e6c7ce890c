//! States that differ in names alone are one state.

use super::*;

impl Protocol {
    /// The same state without what no longer matters.
    pub(super) fn canonical(&self, state: State) -> State {
        let no_more_failovers = state.failed >= self.failovers;
        state.canonical(self, no_more_failovers)
    }
}

impl State {
    /// The same state under the names that it would have if nothing irrelevant had happened before.
    fn canonical(mut self, protocol: &Protocol, replica_is_done: bool) -> Self {
        let now = self.now;
        // How long ago counts only as far as a bound reaches.
        for (.., when) in &mut self.acknowledged {
            *when = (*when).max(now.saturating_sub(protocol.bound + UNNOTICED + 1));
        }
        for instance in &mut self.instances {
            instance.proved = instance
                .proved
                .filter(|proved| now <= proved + protocol.bound);
            // What is not answered any more is as good as not there.
            if protocol.guards.fence {
                let fences = instance.fences;
                for (entry, fence) in instance.memory.iter_mut().zip(fences) {
                    *entry = entry.filter(|(_, start)| *start >= fence);
                }
            }
        }
        // Entries that no fence admits, and numbers of fences, but for their order.
        for instance in &mut self.instances {
            let mut numbers: Vec<u8> = instance.fences.to_vec();
            numbers.push(instance.raised);
            numbers.extend(instance.memory.iter().flatten().map(|(_, start)| *start));
            numbers.extend(instance.load.map(|load| load.start()));
            numbers.sort_unstable();
            numbers.dedup();
            let rank = |number: u8| {
                numbers
                    .iter()
                    .position(|known| *known == number)
                    .unwrap_or(0) as u8
            };
            for fence in &mut instance.fences {
                *fence = rank(*fence);
            }
            instance.raised = rank(instance.raised);
            for (_, start) in instance.memory.iter_mut().flatten() {
                *start = rank(*start);
            }
            if let Some(load) = &mut instance.load {
                let start = rank(load.start());
                load.set_start(start);
            }
            // Whether a lease is of this link is all that counts.
            if let Some(Load::LeaseResult { link, .. } | Load::Loaded { link, .. }) =
                &mut instance.load
            {
                *link = u8::from(*link == instance.links);
                instance.links = 1;
            } else {
                instance.links = 1;
            }
        }
        if replica_is_done {
            self.replica = Server {
                identity: self.replica.identity,
                records: [None; KEYS],
                leases: [None; KEYS],
                ..self.primary.clone()
            };
        }
        // Tokens in the order in which they are met.
        let mut known = Vec::new();
        let mut rename = |token: &mut u8| {
            let at = known
                .iter()
                .position(|other| other == token)
                .unwrap_or_else(|| {
                    known.push(*token);
                    known.len() - 1
                });
            *token = at as u8 + 1;
        };
        let servers = [
            Some(&mut self.primary),
            Some(&mut self.replica),
            self.old.as_mut().map(|(old, _)| old),
        ];
        for server in servers.into_iter().flatten() {
            for lease in server.leases.iter_mut().flatten() {
                rename(&mut lease.token);
            }
        }
        for instance in &mut self.instances {
            if let Some(Load::LeaseResult { lease, .. } | Load::Loaded { lease, .. }) =
                &mut instance.load
            {
                rename(&mut lease.token);
            }
        }
        self.tokens = known.len() as u8;
        self.rename_numbers();
        self
    }
}

impl Load {
    fn start(&self) -> u8 {
        match self {
            Self::Read { start, .. }
            | Self::LeaseResult { start, .. }
            | Self::Loaded { start, .. } => *start,
        }
    }

    fn set_start(&mut self, to: u8) {
        match self {
            Self::Read { start, .. }
            | Self::LeaseResult { start, .. }
            | Self::Loaded { start, .. } => *start = to,
        }
    }
}
