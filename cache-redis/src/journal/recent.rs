//! Invalidations that were acknowledged recently.

use std::sync::Mutex;
use std::time::Duration;

use cache_core::tier::Target;
use cache_core::tier::kit::{InvalidationSet, OwnedTarget, lock};
use tokio::time::Instant;

/// The shortest time for which an acknowledged invalidation is kept. A replica that takes over may
/// lag behind by up to ten seconds (`min-replicas-max-lag`).
pub(super) const KEPT: Duration = Duration::from_secs(30);

/// The invalidations of the last [`KEPT`] in which any were acknowledged: while a server is
/// unreachable none are, and that may take long.
#[derive(Debug, Default)]
pub(super) struct Recent(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// The invalidations of two spans of time. Each span is dropped whole, so that none needs a
    /// time of its own.
    newer: InvalidationSet,
    older: InvalidationSet,
    /// When the newer span began.
    began: Option<Instant>,
}

impl Recent {
    pub(super) fn add<'a>(&self, targets: impl IntoIterator<Item = Target<'a>>) {
        let mut state = lock(&self.0);
        state.drop_expired(Instant::now());
        for target in targets {
            state.newer.insert(target, 0);
        }
    }

    pub(super) fn targets(&self) -> Vec<OwnedTarget> {
        let state = lock(&self.0);
        let mut targets = state.newer.targets();
        targets.extend(state.older.targets());
        targets
    }
}

impl State {
    fn drop_expired(&mut self, now: Instant) {
        let began = *self.began.get_or_insert(now);
        let spans = now.duration_since(began).as_secs() / KEPT.as_secs();
        if spans > 0 {
            let newer = std::mem::take(&mut self.newer);
            self.older = match spans {
                1 => newer,
                _ => InvalidationSet::default(),
            };
            self.began = Some(now);
        }
    }
}
