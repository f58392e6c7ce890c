//! Guards a key during a transaction.

use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{Guard, RecordKey, Target};

use crate::commands::guard::GuardedKey;
use crate::journal::Invalidated;
use crate::number::fresh_number;
use crate::permissions::Purpose;
use crate::session::RedisSession;

impl RedisSession {
    pub(super) async fn guard(self: &Arc<Self>, key: &RecordKey, within: Duration) -> Guard {
        let number = fresh_number();
        let guarded = GuardedKey::new(&self.keys, key);
        // Held before it is placed, so that it is ended if the caller is dropped before the reply
        // arrives.
        let holder = self
            .guards
            .hold(number, guarded.clone(), self.invalidate_on_drop(key));
        if self.permissions.lacks(Purpose::WriteGuards) {
            // The guard is never placed, and still invalidates in the end.
            return Guard::new(holder);
        }
        let placed = self.run("guard", within, |link| async move {
            self.place_guard(link, number, &guarded).await
        });
        // It is placed with the next renewal, and invalidates in the end in any case.
        if let Err(error) = placed.await {
            tracing::debug!(target: "multi_tier_cached::redis", error = ?error, "a guard is not placed yet");
        }
        Guard::new(holder)
    }

    /// Queues the invalidation of a key whose guard was dropped.
    fn invalidate_on_drop(
        self: &Arc<Self>,
        key: &RecordKey,
    ) -> impl FnOnce() + Send + Sync + use<> {
        let session = Arc::clone(self);
        let invalidated = Invalidated::of(Target::Key(key));
        // Keeps the journal's file open until it is known whether the invalidation is queued.
        let file = self.journal.keep_file();
        move || {
            session.journal.queue(invalidated);
            drop(file);
        }
    }
}
