//! Which values in memory may be returned, and which versions must not.

use super::config::{Protocol, UNNOTICED};
use super::state::{Instance, Link, State};

impl Protocol {
    /// Returns the smallest version of a key that an instance may return now. Older ones were
    /// invalidated too long ago.
    pub(super) fn needed(&self, state: &State, at: u8, key: u8) -> u8 {
        // Promised is only that the instance does not return what it invalidated itself.
        if at != 0 && self.serves_isolated(&state.instances[usize::from(at)]) {
            return 0;
        }
        let bound = match state.old {
            Some(_) => self.bound + UNNOTICED,
            None if at == 0 && self.failovers == 0 => 0,
            None => self.bound,
        };
        let too_long_ago = state.acknowledged.iter().filter(|(of, _, when)| {
            *of == key && (state.now > when + bound || at == 0 && bound == 0)
        });
        let versions = too_long_ago.map(|(_, version, _)| *version);
        versions.max().unwrap_or(0)
    }

    pub(super) fn is_too_old(&self, state: &State, at: u8, key: u8, version: u8) -> bool {
        version < self.needed(state, at, key)
    }

    /// Returns `true` if the instance has applied every message that is older than the bound.
    pub(super) fn is_coherent(&self, instance: &Instance, now: u8) -> bool {
        let proved = instance.proved;
        proved.is_some_and(|proved| now <= proved + self.bound)
    }

    /// Returns `true` if memory answers because the server is not reachable.
    pub(super) fn serves_isolated(&self, instance: &Instance) -> bool {
        let serves = self.windows.is_some_and(|windows| windows.serves_isolated);
        serves && !matches!(instance.link, Link::Up { .. })
    }

    /// Returns `true` if a value in memory may be returned, as far as coherence is concerned.
    pub(super) fn may_answer(&self, instance: &Instance, now: u8) -> bool {
        self.is_coherent(instance, now) || self.serves_isolated(instance)
    }
}
