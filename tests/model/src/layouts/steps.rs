//! Steps of the instances, of the servers and of an operator.

use super::config::{Layouts, MOST, Wrong};
use super::state::{History, Instance, Link, Server, State};

/// A step. The first number is the instance, the second one the shard.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// An instance attaches to a shard, as far as the shard has a history.
    Attach(u8, u8),
    /// It looks for other layouts in the other shards.
    Look(u8, u8),
    /// It does so, and a shard does not answer.
    LookAround(u8, u8, u8),
    /// It begins a history, or attaches to one that was begun since.
    Begin(u8, u8),
    /// The barriers of all links of an instance are answered.
    Barriers(u8),
    /// A link is lost.
    Lose(u8, u8),
    /// An instance calls the key.
    Call(u8),
    /// An instance invalidates the key.
    Invalidate(u8),
    /// The truth changes.
    Commit,
    /// An instance is restarted with another number of shards.
    Restart(u8),
    /// The server of a shard restarts without data.
    LoseData(u8),
    /// The data of a shard is removed.
    Flush(u8),
    /// The history of a shard is evicted.
    Evict(u8),
    /// An operator removes the history of a shard.
    Remove(u8),
}

impl Layouts {
    /// Returns the first state: no instance has attached.
    pub(super) fn start(&self) -> State {
        let instances = self.instances.iter().map(|n| Instance::new(*n)).collect();
        State::without_counts([Server::default(); MOST], instances, 1)
    }

    /// Adds the steps that can happen next.
    pub(super) fn steps(&self, state: &State, steps: &mut Vec<Step>) {
        for (at, instance) in (0..).zip(&state.instances) {
            for shard in 0..instance.shards {
                self.steps_of_link(state, (at, shard), steps);
            }
            let key = self.shard_of_key(instance.shards);
            if let Link::Up { .. } = instance.links[key] {
                steps.extend([Step::Call(at), Step::Invalidate(at), Step::Barriers(at)]);
            }
            if self.restarted_with.is_some() && !state.restarted {
                steps.push(Step::Restart(at));
            }
        }
        if state.truth < self.commits {
            steps.push(Step::Commit);
        }
        let mut links = state.instances.iter().flat_map(|instance| &instance.links);
        if links.any(|link| matches!(link, Link::Looks | Link::Begins)) {
            return;
        }
        for (at, server) in (0..).zip(&state.servers) {
            let Some(history) = server.history else {
                continue;
            };
            if state.restarts < self.losses.restarts {
                steps.push(Step::LoseData(at));
            }
            if state.flushes < self.losses.flushes {
                steps.push(Step::Flush(at));
            }
            let may_evict = state.evictions.count_ones() < self.losses.evictions.into();
            if may_evict && state.evictions & (1 << at) == 0 {
                steps.push(Step::Evict(at));
            }
            let mut instances = state.instances.iter();
            let is_used = instances.any(|instance| instance.shards == history.layout);
            if state.removals < self.losses.removals && !is_used {
                steps.push(Step::Remove(at));
            }
        }
    }

    fn steps_of_link(&self, state: &State, (at, shard): (u8, u8), steps: &mut Vec<Step>) {
        let instance = &state.instances[usize::from(at)];
        match instance.links[usize::from(shard)] {
            Link::Down if self.admits(instance, shard) => steps.push(Step::Attach(at, shard)),
            Link::Down => {}
            Link::Looks => {
                steps.push(Step::Look(at, shard));
                let silent = (0..MOST as u8).filter(|_| self.losses.silent);
                steps.extend(silent.map(|silent| Step::LookAround(at, shard, silent)));
            }
            Link::Begins => steps.push(Step::Begin(at, shard)),
            Link::Up { .. } => {
                if state.links < self.losses.links {
                    steps.push(Step::Lose(at, shard));
                }
            }
        }
    }

    /// A link of the shard may be made.
    pub(super) fn admits(&self, instance: &Instance, shard: u8) -> bool {
        let is_own = self.guards.looks_again && instance.conflicts & (1 << shard) != 0;
        let others = instance.conflicts & !(1 << shard);
        is_own || others == 0 || !self.guards.all_end
    }

    /// Returns the state after a step.
    pub(super) fn take(&self, state: &State, step: Step) -> Result<State, Wrong> {
        let mut next = state.clone();
        match step {
            Step::Attach(at, shard) => self.attach(&mut next, at.into(), shard),
            Step::Look(at, shard) => self.look(&mut next, at.into(), shard, None),
            Step::LookAround(at, shard, silent) => {
                self.look(&mut next, at.into(), shard, Some(silent));
            }
            Step::Begin(at, shard) => match next.servers[usize::from(shard)].history {
                None => self.begin(&mut next, at.into(), shard),
                Some(_) => self.attach(&mut next, at.into(), shard),
            },
            Step::Barriers(at) => {
                let at = usize::from(at);
                for shard in 0..next.instances[at].shards {
                    self.prove(&mut next, at, shard);
                }
                next.instances[at].due = next.acknowledged;
            }
            Step::Lose(at, shard) => {
                next.links += 1;
                self.lose(&mut next.instances[usize::from(at)], shard);
            }
            Step::Call(at) => self.call(&mut next, at.into())?,
            Step::Invalidate(at) => self.invalidate(&mut next, at.into()),
            Step::Commit => next.truth += 1,
            Step::Restart(at) => {
                next.restarted = true;
                let shards = self.restarted_with.unwrap_or_default();
                next.instances[usize::from(at)] = Instance::new(shards);
            }
            Step::LoseData(shard) => {
                next.restarts += 1;
                self.empty(&mut next, shard);
                for instance in &mut next.instances {
                    self.lose(instance, shard);
                }
            }
            Step::Flush(shard) => {
                next.flushes += 1;
                self.empty(&mut next, shard);
            }
            Step::Evict(shard) => {
                next.evictions |= 1 << shard;
                next.servers[usize::from(shard)].history = None;
            }
            Step::Remove(shard) => {
                next.removals += 1;
                next.servers[usize::from(shard)].history = None;
            }
        }
        Ok(next)
    }

    fn empty(&self, next: &mut State, shard: u8) {
        let server = &mut next.servers[usize::from(shard)];
        let sequence = server.sequence + 1;
        *server = Server {
            sequence,
            ..Server::default()
        };
    }

    /// An instance without the link has no valid memory.
    fn lose(&self, instance: &mut Instance, shard: u8) {
        instance.links[usize::from(shard)] = Link::Down;
        if self.shard_of_key(instance.shards) == usize::from(shard) {
            instance.memory = None;
        }
    }

    /// The script of the attachment.
    fn attach(&self, next: &mut State, at: usize, shard: u8) {
        let found = next.servers[usize::from(shard)].history;
        let instance = &mut next.instances[at];
        match found {
            Some(history) if history.layout == instance.shards || !self.guards.compares => {
                self.attached(next, at, shard, history.number);
            }
            Some(_) => self.conflict(instance, shard),
            None => {
                let looks = match shard {
                    0 => self.guards.looks,
                    _ => self.guards.sees_own,
                };
                match looks {
                    true => instance.links[usize::from(shard)] = Link::Looks,
                    false => self.begin(next, at, shard),
                }
            }
        }
    }

    /// Looks at the other shards for other layouts.
    fn look(&self, next: &mut State, at: usize, shard: u8, silent: Option<u8>) {
        let instance = &mut next.instances[at];
        let own = instance.shards;
        let is_own = |server: &Server| server.history.is_some_and(|found| found.layout == own);
        if shard != 0 && silent != Some(0) && is_own(&next.servers[0]) {
            // Shard 0 shows the layout, so no other shard is asked.
            return self.may_begin(instance, shard);
        }
        let most = if self.guards.looks_at_all { MOST } else { 2 };
        let (mut found_own, mut missed_one) = (false, false);
        for (other, server) in (0..).zip(&next.servers[..most]) {
            if Some(other) == silent {
                missed_one |= other != shard && self.guards.needs_answers;
                continue;
            }
            match server.history {
                Some(_) if is_own(server) => found_own = true,
                Some(_) => return self.conflict(instance, shard),
                None => {}
            }
        }
        // Without an answer of all shards, another layout may be in the one that is missing, unless
        // the own layout was begun and has not ended.
        if found_own || (shard == 0 && !missed_one) {
            return self.may_begin(instance, shard);
        }
        if !missed_one {
            self.found_no_other(instance, shard);
        }
        instance.links[usize::from(shard)] = Link::Down;
    }

    /// The shard may begin a history, if no other shard has found another layout.
    fn may_begin(&self, instance: &mut Instance, shard: u8) {
        self.found_no_other(instance, shard);
        instance.links[usize::from(shard)] = match instance.conflicts == 0 || !self.guards.all_end {
            true => Link::Begins,
            false => Link::Down,
        };
    }

    /// A look of the shard found no other layout.
    fn found_no_other(&self, instance: &mut Instance, shard: u8) {
        if self.guards.clears {
            instance.conflicts &= !(1 << shard);
        }
    }

    /// Begins a history. Instances with a link get a message that says so.
    fn begin(&self, next: &mut State, at: usize, shard: u8) {
        let (place, number) = (usize::from(shard), next.next);
        next.next += 1;
        next.servers[place].history = Some(History {
            number,
            layout: next.instances[at].shards,
        });
        let now = next.servers[place].sequence;
        for instance in &mut next.instances {
            let Link::Up { history, sequence } = &mut instance.links[place] else {
                continue;
            };
            (*history, *sequence) = (number, now);
            if self.shard_of_key(instance.shards) == place {
                instance.memory = None;
            }
        }
        self.attached(next, at, shard, number);
    }

    fn attached(&self, next: &mut State, at: usize, shard: u8, history: u8) {
        let place = usize::from(shard);
        let sequence = next.servers[place].sequence;
        let instance = &mut next.instances[at];
        instance.conflicts &= !(1 << shard);
        let link = match instance.conflicts == 0 || !self.guards.all_end {
            true => Link::Up { history, sequence },
            false => Link::Down,
        };
        instance.links[place] = link;
    }

    /// The instance has found another layout. All its links end; links that are being made do not,
    /// until they are attached.
    fn conflict(&self, instance: &mut Instance, shard: u8) {
        instance.conflicts |= 1 << shard;
        self.lose(instance, shard);
        for other in (0..instance.shards).filter(|_| self.guards.all_end) {
            if let Link::Up { .. } = instance.links[usize::from(other)] {
                self.lose(instance, other);
            }
        }
    }

    /// A barrier compares the control keys of a shard, and restores an evicted history.
    fn prove(&self, next: &mut State, at: usize, shard: u8) {
        let (server, instance) = (
            &mut next.servers[usize::from(shard)],
            &mut next.instances[at],
        );
        let Link::Up { history, sequence } = instance.links[usize::from(shard)] else {
            return;
        };
        if sequence != server.sequence {
            return self.lose(instance, shard);
        }
        let found = *server.history.get_or_insert(History {
            number: history,
            layout: instance.shards,
        });
        if found.layout != instance.shards && self.guards.barrier_compares {
            self.conflict(instance, shard);
        } else if found.number != history {
            self.lose(instance, shard);
        }
    }

    fn call(&self, next: &mut State, at: usize) -> Result<(), Wrong> {
        let place = self.shard_of_key(next.instances[at].shards);
        let (server, instance) = (&mut next.servers[place], &mut next.instances[at]);
        let Link::Up { history, .. } = instance.links[place] else {
            return Ok(());
        };
        let record = server.record.filter(|(_, begun)| *begun == history);
        let value = match (instance.memory, record) {
            (Some(value), _) | (None, Some((value, _))) => value,
            (None, None) => {
                if server.history.is_some_and(|found| found.number == history) {
                    server.record = Some((next.truth, history));
                }
                next.truth
            }
        };
        instance.memory = Some(value);
        match value < instance.due {
            true => Err(Wrong::Stale),
            false => Ok(()),
        }
    }

    fn invalidate(&self, next: &mut State, at: usize) {
        let place = self.shard_of_key(next.instances[at].shards);
        let server = &mut next.servers[place];
        let own = next.instances[at].shards;
        // The link has not noticed yet that the data is lost, or that another layout was begun.
        if server.history.is_none_or(|found| found.layout != own) {
            return;
        }
        server.record = None;
        let sequence = server.sequence;
        for instance in &mut next.instances {
            let is_here = self.shard_of_key(instance.shards) == place;
            let link = instance.links[place];
            if is_here && matches!(link, Link::Up { sequence: of, .. } if of == sequence) {
                instance.memory = None;
            }
        }
        // The instance that invalidates voids its own memory in any case.
        next.instances[at].memory = None;
        next.acknowledged = next.truth;
    }
}
