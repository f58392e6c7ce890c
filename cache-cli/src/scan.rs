//! Walks over the keys of a shard.

use cache_redis::inspect::InspectedShard;

use crate::failure::Failure;

/// The number of keys that one step looks at, about. The server does nothing else for as long.
pub(crate) const STEP: usize = 512;

/// A walk over the keys of a shard whose names match. Each step is short; a key may come twice.
#[derive(Debug)]
pub(crate) struct Scan<'a> {
    shard: &'a InspectedShard,
    pattern: String,
    /// `None` after the last step.
    cursor: Option<u64>,
}

impl<'a> Scan<'a> {
    pub(crate) fn new(shard: &'a InspectedShard, pattern: String) -> Self {
        Self {
            shard,
            pattern,
            cursor: Some(0),
        }
    }

    /// Returns the names that the next step finds; `None` after the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<String>>, Failure> {
        let Some(cursor) = self.cursor else {
            return Ok(None);
        };
        let mut scan = redis::cmd("SCAN");
        scan.arg(cursor)
            .arg("MATCH")
            .arg(&self.pattern)
            .arg("COUNT")
            .arg(STEP);
        let (next, names): (u64, Vec<Vec<u8>>) =
            scan.query_async(&mut self.shard.connection()).await?;
        self.cursor = Some(next).filter(|next| *next != 0);
        let names = names.into_iter();
        Ok(Some(
            names
                .map(|name| String::from_utf8_lossy(&name).into_owned())
                .collect(),
        ))
    }
}
