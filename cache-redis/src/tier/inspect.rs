//! Looks at what there is of a key.

use std::time::Duration;

use cache_core::Error;
use cache_core::tier::{Inspection, RecordKey};

use crate::commands::inspect::inspect;
use crate::session::RedisSession;

impl RedisSession {
    pub(super) async fn inspect(
        &self,
        key: &RecordKey,
        within: Duration,
    ) -> Result<Inspection, Error> {
        let limits = (self.settings.max_record_bytes, self.now());
        self.inspecting("inspect", within, |mut link| async move {
            inspect(&mut link.data, &self.keys, key, limits).await
        })
        .await
    }
}
