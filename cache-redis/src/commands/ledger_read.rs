//! Reads the ledger: the part that concerns one record, or all of it in portions.
//!
//! None of the reads is a script, so the ledger may change between two of them. The current
//! generation is read before the old one: if the next one is begun in between, it is read twice,
//! and the floor of the ledger rises.

use cache_core::tier::{Mark, Marks};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, RedisError};

use super::ledger::{entry_number, expiry_field, mark_of, tag_field};
use crate::errors;
use crate::keys::Keys;
use crate::ledger::{Kind, Ledger};

/// The number of fields that one scan looks at, about. The server does nothing else for as long.
const SCANNED: usize = 1024;

/// The fields that describe a generation.
const HEAD: [&str; 3] = ["b", "n", "f"];

/// The base and the generations of a ledger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) base: u64,
    /// The number of the last entry before the current generation.
    pub(crate) begun: u64,
    /// The number of the last entry before the old generation, if there is one and it is not lost.
    pub(crate) old: Option<u64>,
}

/// Fields of a ledger, and the cursor of those that follow. It is zero after the last ones.
#[derive(Debug)]
pub(crate) struct Portion {
    pub(crate) cursor: u64,
    fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// A reply to HMGET. Each value is missing if the key is.
type Fields = Vec<Option<Vec<u8>>>;

/// The description of one generation.
struct GenerationHead {
    mark: Mark,
    begun: u64,
}

impl Head {
    /// Combines what is known of the two generations; `None` if there is no ledger.
    fn new(current: &[Option<Vec<u8>>], old: &[Option<Vec<u8>>]) -> Option<Self> {
        let GenerationHead { mark, begun } = GenerationHead::parse(current)?;
        // One that does not reach up to the current generation is not of this ledger.
        let is_before =
            |old: &GenerationHead| old.mark.base == mark.base && old.mark.number >= begun;
        let old = GenerationHead::parse(old).filter(is_before);
        Some(Self {
            base: mark.base,
            begun,
            old: old.map(|old| old.begun),
        })
    }

    /// The ledger without its entries.
    pub(crate) fn ledger(self) -> Ledger {
        Ledger::new(self.base, self.begun, self.old)
    }
}

impl GenerationHead {
    fn parse(fields: &[Option<Vec<u8>>]) -> Option<Self> {
        let [Some(base), Some(count), Some(begun)] = fields else {
            return None;
        };
        Some(Self {
            mark: mark_of(base, count)?,
            begun: entry_number(begun)?,
        })
    }
}

impl Portion {
    /// Notes the entries in a ledger. Other fields are passed over.
    pub(crate) fn note_in(&self, ledger: &mut Ledger) {
        for (field, value) in &self.fields {
            note(ledger, field, value);
        }
    }
}

/// Reads the fields that describe the ledger, in one round trip.
pub(crate) async fn head(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
) -> Result<Option<Head>, RedisError> {
    let [current, old] = both_generations(connection, keys, &[]).await?;
    Ok(Head::new(&current, &old))
}

/// Reads some fields of a generation, whose key is `name`.
pub(crate) async fn scan(
    connection: &mut MultiplexedConnection,
    name: &str,
    cursor: u64,
) -> Result<Portion, RedisError> {
    let mut scan = redis::cmd("HSCAN");
    scan.arg(name).arg(cursor).arg("COUNT").arg(SCANNED);
    match scan.query_async(connection).await {
        Ok((cursor, fields)) => Ok(Portion { cursor, fields }),
        Err(error) if errors::is_of_another_type(&error) => Ok(Portion {
            cursor: 0,
            fields: Vec::new(),
        }),
        Err(error) => Err(error),
    }
}

/// Reads the part of the ledger that a record is judged by, in one round trip; `None` if there is
/// no ledger.
pub(crate) async fn of_record(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    marks: Marks<'_>,
) -> Result<Option<Ledger>, RedisError> {
    let found = end_and_part(connection, keys, marks).await?;
    Ok(found.map(|(_, ledger)| ledger))
}

/// Reads what [`of_record`] reads, and the number of the last entry of the ledger.
pub(crate) async fn end_and_part(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    marks: Marks<'_>,
) -> Result<Option<(u64, Ledger)>, RedisError> {
    let tags = marks.tags.iter().copied();
    let expired = tags.clone().chain([marks.key, marks.function]);
    let invalidated = tags.map(|digest| tag_field(digest).to_vec());
    let fields = invalidated.chain(expired.map(|digest| expiry_field(digest).to_vec()));
    let fields: Vec<Vec<u8>> = fields.collect();
    let [current, old] = both_generations(connection, keys, &fields).await?;
    let head = Head::new(&current[..HEAD.len()], &old[..HEAD.len()]);
    let end = GenerationHead::parse(&current[..HEAD.len()]);
    let end = end.map_or(0, |generation| generation.mark.number);
    Ok(head.map(|head| {
        let mut ledger = head.ledger();
        let old = head.old.map(|_| old);
        for values in [Some(current), old].into_iter().flatten() {
            for (field, value) in fields.iter().zip(&values[HEAD.len()..]) {
                if let Some(value) = value {
                    note(&mut ledger, field, value);
                }
            }
        }
        (end, ledger)
    }))
}

/// Reads fields of both generations, after those that describe them.
async fn both_generations(
    connection: &mut MultiplexedConnection,
    keys: &Keys,
    fields: &[Vec<u8>],
) -> Result<[Fields; 2], RedisError> {
    let read = |name: String| {
        let mut read = Cmd::new();
        read.arg("HMGET").arg(name).arg(&HEAD).arg(fields);
        read
    };
    let mut pipeline = redis::pipe();
    // A key of another type is as good as missing.
    pipeline.ignore_errors();
    pipeline.add_command(read(keys.ledger()));
    pipeline.add_command(read(keys.old_ledger()));
    let (current, old): (Result<Fields, _>, Result<Fields, _>) =
        pipeline.query_async(connection).await?;
    let length = HEAD.len() + fields.len();
    let whole = |reply| match reply {
        Ok(values) => Some(values)
            .filter(|values: &Fields| values.len() == length)
            .ok_or_else(errors::no_reply),
        Err(error) if errors::is_of_another_type(&error) => Ok(vec![None; length]),
        Err(error) => Err(error),
    };
    Ok([whole(current)?, whole(old)?])
}

/// Notes a field, if it is one of an entry.
fn note(ledger: &mut Ledger, field: &[u8], value: &[u8]) {
    // By the length: the digest of a tag may begin with any byte.
    let (kind, digest) = match field {
        [b'~', digest @ ..] if digest.len() == 8 => (Kind::Expired, digest),
        digest => (Kind::Invalidated, digest),
    };
    if let (Ok(digest), Some(number)) = (digest.try_into(), entry_number(value)) {
        ledger.note(kind, u64::from_le_bytes(digest), number);
    }
}
