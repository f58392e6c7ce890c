//! Invalidations that were acknowledged recently.

use std::sync::Mutex;
use std::time::Duration;

use cache_core::tier::Target;
use cache_core::tier::kit::{InvalidationSet, lock};
use tokio::time::Instant;

use super::invalidated::Invalidated;
use super::tags::TagSet;

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
    newer: Span,
    older: Span,
    /// When the newer span began.
    began: Option<Instant>,
}

/// The invalidations that were acknowledged in a span of time. They have no numbers, because they
/// are removed together.
#[derive(Debug, Default)]
struct Span {
    targets: InvalidationSet,
    tags: TagSet,
}

impl Span {
    fn invalidated(&self) -> impl Iterator<Item = Invalidated> {
        let targets = self.targets.targets().into_iter();
        targets
            .map(Invalidated::Target)
            .chain(self.tags.invalidated())
    }
}

impl Recent {
    pub(super) fn add<'a>(&self, targets: impl IntoIterator<Item = Target<'a>>) {
        let mut state = lock(&self.0);
        state.drop_expired(Instant::now());
        for target in targets {
            state.newer.targets.insert(target, 0);
        }
    }

    pub(super) fn add_tags(&self, tags: &[u64]) {
        let mut state = lock(&self.0);
        state.drop_expired(Instant::now());
        state.newer.tags.insert(tags, 0);
    }

    pub(super) fn add_all_tags(&self) {
        let mut state = lock(&self.0);
        state.drop_expired(Instant::now());
        state.newer.tags.insert_all(0);
    }

    pub(super) fn all(&self) -> Vec<Invalidated> {
        let state = lock(&self.0);
        let newer = state.newer.invalidated();
        newer.chain(state.older.invalidated()).collect()
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
                _ => Span::default(),
            };
            self.began = Some(now);
        }
    }
}
