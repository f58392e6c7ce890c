//! Counters of what went wrong with the connections of a shared tier.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::coherence::Coherence;
use crate::events::EventKind;
use crate::tier::{Health, Peers};

/// Counts events of a shared tier for its [`Health`].
///
/// All its atomics are relaxed: they are read for reports only.
#[derive(Debug, Default)]
pub struct LinkCounters {
    isolations: AtomicU64,
    gaps: AtomicU64,
    history_changes: AtomicU64,
    replays: AtomicU64,
    /// The way to the runtime that notes the events, if the tier has set it.
    peers: Option<Peers>,
}

impl LinkCounters {
    /// Creates counters whose events are [events](crate::Event) of the runtime as well.
    #[must_use]
    pub fn noting(peers: &Peers) -> Self {
        Self {
            peers: Some(peers.clone()),
            ..Self::default()
        }
    }

    fn note(&self, kind: EventKind) {
        if let Some(peers) = &self.peers {
            peers.note(kind);
        }
    }

    /// Notes that the store did not answer several times in a row, and that calls continue without
    /// it. It is not counted: the channel is lost with it.
    pub fn breaker_opened(&self) {
        self.note(EventKind::BreakerOpened);
    }

    /// Counts a channel that was lost or could not be trusted.
    pub fn isolated(&self) {
        self.isolations.fetch_add(1, Ordering::Relaxed);
        self.note(EventKind::Isolated);
    }

    /// Counts messages of the channel that were missing.
    pub fn gap(&self) {
        self.gaps.fetch_add(1, Ordering::Relaxed);
        self.note(EventKind::Gap);
    }

    /// Counts a store that was found to be another one, or to have lost data.
    pub fn history_changed(&self) {
        self.history_changes.fetch_add(1, Ordering::Relaxed);
        self.note(EventKind::HistoryChanged);
    }

    /// Counts pending invalidations that were sent.
    pub fn replayed(&self, invalidations: usize) {
        let invalidations = u64::try_from(invalidations).unwrap_or(u64::MAX);
        self.replays.fetch_add(invalidations, Ordering::Relaxed);
    }

    /// Returns the health of a shared tier: these counters, the state of its channel, whether it is
    /// `connected`, and how many invalidations are `queued`.
    #[must_use]
    pub fn health(&self, connected: bool, coherence: &Coherence, queued: usize) -> Health {
        let (coherent_for, last_barrier) = coherence.age();
        Health {
            connected,
            has_channel: true,
            coherent_for,
            last_barrier,
            queued,
            isolations: self.isolations.load(Ordering::Relaxed),
            gaps: self.gaps.load(Ordering::Relaxed),
            history_changes: self.history_changes.load(Ordering::Relaxed),
            replays: self.replays.load(Ordering::Relaxed),
            unusable: Vec::new(),
            address: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn health_has_the_counters_and_the_state_of_the_channel() {
        let counters = LinkCounters::default();
        counters.isolated();
        counters.gap();
        counters.gap();
        counters.replayed(7);
        let coherence = Coherence::new(Duration::from_secs(1));
        let health = counters.health(true, &coherence, 3);
        assert!(health.connected && health.has_channel && health.coherent_for.is_none());
        assert_eq!(
            (health.isolations, health.gaps, health.history_changes),
            (1, 2, 0)
        );
        assert_eq!((health.replays, health.queued), (7, 3));
    }
}
