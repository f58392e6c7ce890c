//! Records: values as the lower tiers store them, behind a header that identifies them.
//!
//! ```text
//!  0 magic "MTCr"         4    24 load, ms             u32    56 key digest   u128
//!  4 format               1    28 function version     u32    72 payload len  u32
//!  5 codec                1    32 epoch of function    u64    76 checksum     u64
//!  6 kind                 2    40 shape of value       u64    84 payload
//!  8 created, ms          u64  48 history of store     u64
//! 16 life, ms             u64
//! ```
//!
//! All numbers are little-endian. The checksum (XXH3-64) covers all bytes before it and all bytes
//! after it, so that every changed bit of a record is noticed. Times are of the tier's own clock.
//!
//! A record of format 2 has [marks] between the header and the payload. Functions with tags or with
//! a stale window write it, because their records can be invalidated or expired without their keys
//! being known. A build that does not know format 2 takes such a record for a damaged one, which is
//! a miss.

mod marks;

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

pub use self::marks::Mark;
pub(crate) use self::marks::RecordMarks;
use crate::clock::Moment;

const MAGIC: [u8; 4] = *b"MTCr";
const CHECKSUM: usize = 76;
pub(crate) const HEADER: usize = 84;

/// The place of the etag in a record.
pub const ETAG: std::ops::Range<usize> = CHECKSUM..HEADER;

/// Identifies a record among all others, as far as 64 bits can: its checksum, in the bytes of the
/// record.
pub type Etag = [u8; ETAG.end - ETAG.start];

/// Returns the etag of a record.
pub(crate) fn etag_of(bytes: &[u8]) -> Option<Etag> {
    bytes.get(ETAG)?.try_into().ok()
}

/// The numbers that a valid record carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "as a record's header has it")]
pub struct Stamp {
    /// The function's epoch. It changes when all keys of the function are invalidated.
    pub epoch: u64,
    /// The store's history. It changes when the store lost data, or may have lost some.
    pub history: u64,
}

/// The header of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) format: Format,
    pub(crate) codec: u8,
    /// When the record was sent, in milliseconds of the tier's clock.
    pub(crate) created: u64,
    /// How long the value is fresh from then on, in milliseconds. The tier may keep the record for
    /// longer, because a stale value may be returned as well.
    pub(crate) life: u64,
    /// How long the load took, in milliseconds.
    pub(crate) load: u32,
    pub(crate) version: u32,
    /// The function's epoch before the load.
    pub(crate) epoch: u64,
    /// The store's history before the load.
    pub(crate) history: u64,
    pub(crate) shape: u64,
    pub(crate) digest: u128,
    pub(crate) kind: RecordKind,
}

/// The layout of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// The payload follows the header.
    Plain,
    /// Marks follow the header, and the payload follows them.
    Marked,
}

impl Format {
    const fn number(self) -> u8 {
        match self {
            Self::Plain => 1,
            Self::Marked => 2,
        }
    }

    fn of_number(number: u8) -> Option<Self> {
        let all = [Self::Plain, Self::Marked];
        all.into_iter().find(|format| format.number() == number)
    }
}

/// The kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A value that was loaded, or put by hand.
    Value,
    /// A copy of another tier's record. It lives no longer than that one.
    Copy,
    /// No value: the value that replaced the previous record cannot be stored.
    Nothing,
    /// The load found that there is no value (`none_ttl`).
    Absent,
}

impl RecordKind {
    fn number(self) -> u16 {
        match self {
            Self::Value => 0,
            Self::Copy => 1,
            Self::Nothing => 2,
            Self::Absent => 3,
        }
    }

    fn of_number(number: u16) -> Option<Self> {
        let all = [Self::Value, Self::Copy, Self::Nothing, Self::Absent];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

/// A record that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record<'a> {
    pub(crate) header: Header,
    pub(crate) marks: RecordMarks,
    pub(crate) payload: &'a [u8],
}

/// Bytes that are no record of this format, or a record that was cut short or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Header {
    /// Serializes a record: this header, its checksum, the marks if the format has them, and the
    /// payload.
    pub(crate) fn encode(&self, marks: &RecordMarks, payload: &[u8]) -> Vec<u8> {
        let marks = match self.format {
            Format::Plain => Vec::new(),
            Format::Marked => marks.to_bytes(),
        };
        let mut bytes = Vec::with_capacity(HEADER + marks.len() + payload.len());
        bytes.extend(MAGIC);
        bytes.extend([self.format.number(), self.codec]);
        bytes.extend(self.kind.number().to_le_bytes());
        bytes.extend(self.created.to_le_bytes());
        bytes.extend(self.life.to_le_bytes());
        bytes.extend(self.load.to_le_bytes());
        bytes.extend(self.version.to_le_bytes());
        bytes.extend(self.epoch.to_le_bytes());
        bytes.extend(self.shape.to_le_bytes());
        bytes.extend(self.history.to_le_bytes());
        bytes.extend(self.digest.to_le_bytes());
        bytes.extend(
            u32::try_from(payload.len())
                .unwrap_or(u32::MAX)
                .to_le_bytes(),
        );
        bytes.extend(checksum([&bytes, &marks, payload]).to_le_bytes());
        bytes.extend(marks);
        bytes.extend(payload);
        bytes
    }

    /// Returns the bytes of the record before its payload, if it has so many tags.
    pub(crate) const fn overhead(&self, tags: usize) -> usize {
        match self.format {
            Format::Plain => HEADER,
            Format::Marked => HEADER + RecordMarks::len_with(tags),
        }
    }

    /// Sets how long the value is fresh, in whole milliseconds and at least one.
    pub(crate) fn with_life(self, life: Duration) -> Self {
        Self {
            life: u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1),
            ..self
        }
    }

    /// Reads a record. Bytes of any length and content are read without a panic.
    pub(crate) fn open(bytes: &[u8]) -> Result<Record<'_>, Damaged> {
        let (head, rest) = bytes.split_at_checked(HEADER).ok_or(Damaged)?;
        let (header, len, sum) = Self::parse(head)?;
        // Before the marks are read, which are allocated.
        if sum != checksum([&head[..CHECKSUM], rest]) {
            return Err(Damaged);
        }
        let (marks, payload) = match header.format {
            Format::Plain => (RecordMarks::default(), rest),
            Format::Marked => RecordMarks::split_from(rest).ok_or(Damaged)?,
        };
        if len as usize != payload.len() {
            return Err(Damaged);
        }
        Ok(Record {
            header,
            marks,
            payload,
        })
    }

    /// Reads the header of a record that is recognized by its etag. The etag covers the header, and
    /// was checked when the record was read.
    pub(crate) fn of_known(head: &[u8], etag: Etag) -> Result<Self, Damaged> {
        let (header, _, sum) = Self::parse(head)?;
        if sum != u64::from_le_bytes(etag) {
            return Err(Damaged);
        }
        Ok(header)
    }

    fn parse(head: &[u8]) -> Result<(Self, u32, u64), Damaged> {
        if head.len() < HEADER {
            return Err(Damaged);
        }
        let mut fields = Fields(head);
        if fields.take() != MAGIC {
            return Err(Damaged);
        }
        let [format, codec] = fields.take();
        let kind = u16::from_le_bytes(fields.take());
        let header = Self {
            format: Format::of_number(format).ok_or(Damaged)?,
            codec,
            created: u64::from_le_bytes(fields.take()),
            life: u64::from_le_bytes(fields.take()),
            load: u32::from_le_bytes(fields.take()),
            version: u32::from_le_bytes(fields.take()),
            epoch: u64::from_le_bytes(fields.take()),
            shape: u64::from_le_bytes(fields.take()),
            history: u64::from_le_bytes(fields.take()),
            digest: u128::from_le_bytes(fields.take()),
            kind: RecordKind::of_number(kind).ok_or(Damaged)?,
        };
        let len = u32::from_le_bytes(fields.take());
        let sum = u64::from_le_bytes(fields.take());
        Ok((header, len, sum))
    }

    /// Returns the stamp that the record carries.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            epoch: self.epoch,
            history: self.history,
        }
    }

    /// Returns whether the value is fresh at `now`. A clock that went back does not make it fresh
    /// for longer.
    pub(crate) fn freshness(&self, now: u64) -> Freshness {
        let age = now.saturating_sub(self.created);
        match self.life.checked_sub(age) {
            Some(left) if left > 0 => Freshness::Fresh(Duration::from_millis(left)),
            _ => Freshness::Stale(Duration::from_millis(age - self.life)),
        }
    }
}

/// The distance of a value to the end of its freshness.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    /// It is fresh for this long, which is not zero.
    Fresh(Duration),
    /// It has been stale for this long, which may be zero.
    Stale(Duration),
}

impl Freshness {
    /// Returns `true` if the freshness ends later than the other.
    pub(crate) fn ends_after(self, other: Self) -> bool {
        match (self, other) {
            (Self::Fresh(left), Self::Fresh(of_other)) => left > of_other,
            (Self::Stale(since), Self::Stale(of_other)) => since < of_other,
            (Self::Fresh(_), Self::Stale(_)) => true,
            (Self::Stale(_), Self::Fresh(_)) => false,
        }
    }

    /// Returns the end of the freshness.
    pub(crate) fn end(self, now: Moment) -> Moment {
        match self {
            Self::Fresh(left) => now.after(left),
            Self::Stale(since) => now.before(since),
        }
    }

    /// Returns how long the value is still fresh, if it is.
    pub(crate) fn left(self) -> Option<Duration> {
        match self {
            Self::Fresh(left) => Some(left),
            Self::Stale(_) => None,
        }
    }
}

fn checksum<const N: usize>(parts: [&[u8]; N]) -> u64 {
    let mut hasher = Xxh3::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.digest()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// Takes the next field. The caller has checked that the header is complete.
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let (field, rest) = self
            .0
            .split_first_chunk()
            .map_or(([0; N], &[][..]), |(f, r)| (*f, r));
        self.0 = rest;
        field
    }
}

#[cfg(test)]
mod tests;
