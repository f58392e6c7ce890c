//! The histories of all shards that a namespace can have, whatever its layout is.

use std::collections::BTreeMap;

use cache_core::Error;

use super::Inspection;
use crate::errors::{failed, is_of_another_type};
use crate::keys::history_of;
use crate::server;

/// The histories that are found under the names of a namespace.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Histories {
    /// The number of shards that each was begun for, by the index of its shard.
    pub shards: BTreeMap<u8, u8>,
    /// The first shard that cannot be asked, with the reason.
    pub unanswered: Option<(u8, Error)>,
}

impl Inspection {
    /// Reads the histories of all shards that the namespace can have, by the code with which
    /// instances look for other layouts before they begin a history.
    ///
    /// # Cancel safety
    /// Cancel safe.
    pub async fn histories(&self) -> Histories {
        let mut found = Histories::default();
        let Some(node) = self.nodes.first() else {
            return found;
        };
        for (index, answer) in node.histories(&self.namespace).await {
            match answer {
                Ok(text) => {
                    let of = server::shards_of_history(&text);
                    found.shards.extend(of.map(|of| (index, of)));
                }
                Err(unanswered) if is_of_another_type(&unanswered.error) => {}
                Err(unanswered) => {
                    let error = failed("read the history of a shard", unanswered.error);
                    found.unanswered.get_or_insert((index, error));
                }
            }
        }
        found
    }

    /// Returns the name of the history of a shard, which may be of another layout.
    #[must_use]
    pub fn history_name(&self, index: u8) -> String {
        history_of(&self.namespace, index)
    }
}
