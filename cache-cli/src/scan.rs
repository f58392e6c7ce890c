//! Walks over the keys of a shard, or of all shards of a node.

use cache_redis::inspect::{InspectedShard, Inspection};

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

/// A walk over the keys of all shards that a node has. A server has no list of the keys of one
/// shard: a walk for each shard would look at all keys as often.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    shards: Vec<&'a InspectedShard>,
    scan: Scan<'a>,
}

impl<'a> Walk<'a> {
    /// Begins a walk for each node that has shards.
    pub(crate) fn of_nodes(inspection: &'a Inspection) -> Vec<Self> {
        let nodes = inspection.nodes().iter();
        let of_node = |address: String| {
            let shards = inspection.shards().iter();
            let is_here = |shard: &&InspectedShard| inspection.node_of(shard).address() == address;
            let shards: Vec<&InspectedShard> = shards.filter(is_here).collect();
            let pattern = match shards[..] {
                [] => return None,
                [only] => only.pattern(),
                // No character that a namespace may have is special.
                _ => format!("{{{}:*}}:*", inspection.namespace()),
            };
            let scan = Scan::new(shards[0], pattern);
            Some(Self { shards, scan })
        };
        nodes.filter_map(|node| of_node(node.address())).collect()
    }

    pub(crate) fn shards(&self) -> &[&'a InspectedShard] {
        &self.shards
    }

    pub(crate) fn is_finished(&self) -> bool {
        self.scan.cursor.is_none()
    }

    /// Returns the names that the next step finds, for each shard in the order of
    /// [`shards`](Self::shards).
    pub(crate) async fn next(&mut self) -> Result<Vec<Vec<String>>, Failure> {
        let names = self.scan.next().await?.unwrap_or_default();
        let prefixes = self.shards.iter().map(|shard| shard.published_name(""));
        let mut of_shards: Vec<(String, Vec<String>)> =
            prefixes.map(|prefix| (prefix, Vec::new())).collect();
        for name in names {
            let of_shard = of_shards
                .iter_mut()
                .find(|(prefix, _)| name.starts_with(prefix));
            if let Some((_, names)) = of_shard {
                names.push(name);
            }
        }
        Ok(of_shards.into_iter().map(|(_, names)| names).collect())
    }
}
