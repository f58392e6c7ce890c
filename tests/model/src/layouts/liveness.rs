//! An instance whose namespace has no other layout any more comes back by itself.

use std::collections::HashSet;

use super::config::{Layouts, Wrong};
use super::state::{Instance, Link, Server, State};
use super::steps::Step;

/// The states from which an instance came back, so that each is tried once.
pub(super) type Recovered = HashSet<State>;

impl Layouts {
    /// Checks that each instance whose number of shards is in all histories that there are attaches
    /// to all of its shards, although no other instance does anything. Its shards take their turns
    /// in both directions.
    pub(super) fn check_liveness(
        &self,
        state: &State,
        recovered: &mut Recovered,
    ) -> Result<(), Wrong> {
        for instance in &state.instances {
            let mut histories = state.servers.iter().filter_map(|server| server.history);
            if histories.any(|history| history.layout != instance.shards) {
                continue;
            }
            let alone = alone(state, instance);
            if recovered.contains(&alone) {
                continue;
            }
            for is_backwards in [false, true] {
                self.recover(&alone, is_backwards)?;
            }
            recovered.insert(alone);
        }
        Ok(())
    }

    /// Lets an instance that is alone take its steps.
    fn recover(&self, start: &State, is_backwards: bool) -> Result<(), Wrong> {
        let mut state = start.clone();
        loop {
            let before = state.clone();
            state = self.take(&state, Step::Barriers(0))?;
            let shards = 0..state.instances[0].shards;
            for at in shards.clone() {
                let shard = match is_backwards {
                    true => shards.end - 1 - at,
                    false => at,
                };
                state = self.advance(state, shard)?;
            }
            if is_attached(&state.instances[0]) {
                return Ok(());
            }
            if state == before {
                return Err(Wrong::Stuck);
            }
        }
    }

    /// One attempt of a shard to make its link.
    fn advance(&self, mut state: State, shard: u8) -> Result<State, Wrong> {
        loop {
            let instance = &state.instances[0];
            let step = match instance.links[usize::from(shard)] {
                Link::Down if self.admits(instance, shard) => Step::Attach(0, shard),
                Link::Looks => Step::Look(0, shard),
                Link::Begins => Step::Begin(0, shard),
                Link::Down | Link::Up { .. } => return Ok(state),
            };
            state = self.take(&state, step)?;
            if let Link::Down = state.instances[0].links[usize::from(shard)] {
                // The attempt failed; the next one is after a pause.
                return Ok(state);
            }
        }
    }
}

/// Returns the state without other instances, and without what an attachment does not ask for.
fn alone(state: &State, instance: &Instance) -> State {
    let servers = state.servers.map(|server| Server {
        record: None,
        ..server
    });
    let instance = Instance {
        memory: None,
        due: 0,
        ..instance.clone()
    };
    State::without_counts(servers, vec![instance], state.next)
}

fn is_attached(instance: &Instance) -> bool {
    let links = &instance.links[..usize::from(instance.shards)];
    links.iter().all(|link| matches!(link, Link::Up { .. }))
}
