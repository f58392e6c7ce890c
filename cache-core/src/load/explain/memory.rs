//! The state of a key in memory.

use crate::cached_function::CachedFunction;
use crate::clock::Moment;
use crate::entry::Entry;
use crate::explanation::{ExplainedTier, Verdict};
use crate::key::Key;
use crate::level::Level;
use crate::load::judge::Standing;

impl CachedFunction {
    /// Explains the entry of a key; `None` if memory keeps nothing of the function.
    pub(super) fn explain_memory(&self, key: &Key, kept: Option<&Entry>) -> Option<ExplainedTier> {
        let lives = self.memory.as_ref().map(|(lives, _)| *lives);
        let lives = lives.or(self.strong_memory)?;
        self.state.memory()?;
        let verdict = kept.map_or(Verdict::Absent, |entry| self.verdict_on(key, entry));
        let now = self.state.clock.now();
        let until = kept.map(Entry::fresh_until);
        Some(ExplainedTier {
            kind: "memory".into(),
            ttl: Some(lives.filled),
            fresh_for: until
                .filter(|until| *until > now)
                .map(|until| until.since(now)),
            stale_for: until
                .filter(|until| *until <= now)
                .map(|until| now.since(until)),
            guards: Some(0),
            ..ExplainedTier::new(Level::L1, verdict)
        })
    }

    fn verdict_on(&self, key: &Key, entry: &Entry) -> Verdict {
        // As a call: coherence before the fences.
        let coherent = self.coherent_now(entry.stripe());
        let dates = (entry.start(), entry.dated());
        if let Some(by) = self.fenced_by(dates, self.digest(key), entry.tags()) {
            return Verdict::FencedOff { by };
        }
        let now = coherent.unwrap_or_else(|| self.state.clock.now());
        let standing = self.standing(entry, true, now, self.has_late_calls());
        let verdict = self.verdict_of(&standing, entry, now);
        match (coherent, &standing) {
            (Some(_), _) | (None, Standing::Expired | Standing::Stopgap) => verdict,
            (None, _) => Verdict::NotCoherent,
        }
    }

    fn verdict_of(&self, standing: &Standing, entry: &Entry, now: Moment) -> Verdict {
        match standing {
            Standing::Fresh(_) => Verdict::Good,
            Standing::Due(_) => Verdict::Due,
            Standing::Revalidated(_) | Standing::BackedOff(_) => Verdict::Stale,
            Standing::Absent => Verdict::NoValue,
            Standing::Failed(_) => Verdict::KeptError,
            Standing::Stopgap => Verdict::Stopgap,
            Standing::Void | Standing::Expired => {
                let ends = entry.fresh_until().after(self.times.longest_window());
                match entry.held().is_some() && now < ends {
                    true => Verdict::Stale,
                    false => Verdict::Expired,
                }
            }
        }
    }
}
