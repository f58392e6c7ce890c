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
//! A record of format 2 has marks between the header and the payload: the number of its tags (u8),
//! the base and the number of the tag ledger when its load began (u64 each), and the tags (u64
//! each). Functions with a stale window write it, with zeros and without tags, so that a later
//! build can add marks to their records without another format. A record with tags is not used by
//! this build, which cannot check them. A build that does not know format 2 takes such a record for
//! a damaged one, which is a miss.

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 4] = *b"MTCr";
/// The length of the marks of a record without tags.
const MARKS: usize = 1 + 2 * size_of::<u64>();
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
    /// Marks follow the header.
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

    /// Returns the bytes of a record before its payload.
    pub(crate) const fn overhead(self) -> usize {
        match self {
            Self::Plain => HEADER,
            Self::Marked => HEADER + MARKS,
        }
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

/// Bytes that are no record of this format, or a record that was cut short or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Damaged;

impl Header {
    /// Serializes a record: this header, its checksum and the payload.
    pub(crate) fn encode(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.format.overhead() + payload.len());
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
        let marks: &[u8] = match self.format {
            Format::Plain => &[],
            Format::Marked => &[0; MARKS],
        };
        bytes.extend(checksum([&bytes, marks, payload]).to_le_bytes());
        bytes.extend(marks);
        bytes.extend(payload);
        bytes
    }

    /// Sets how long the value is fresh, in whole milliseconds and at least one.
    pub(crate) fn with_life(self, life: Duration) -> Self {
        Self {
            life: u64::try_from(life.as_millis()).unwrap_or(u64::MAX).max(1),
            ..self
        }
    }

    /// Reads a header and the payload behind it.
    pub(crate) fn open(bytes: &[u8]) -> Result<(Self, &[u8]), Damaged> {
        let (head, rest) = bytes.split_at_checked(HEADER).ok_or(Damaged)?;
        let (header, len, sum) = Self::parse(head)?;
        let payload = match header.format {
            Format::Plain => rest,
            Format::Marked => match rest.split_at_checked(MARKS) {
                Some((marks, payload)) if marks[0] == 0 => payload,
                _ => return Err(Damaged),
            },
        };
        if len as usize != payload.len() || sum != checksum([&head[..CHECKSUM], rest]) {
            return Err(Damaged);
        }
        Ok((header, payload))
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
mod tests {
    use super::*;

    fn header() -> Header {
        Header {
            format: Format::Plain,
            codec: 1,
            created: 1_000,
            life: 500,
            load: 7,
            version: 3,
            epoch: 11,
            history: 19,
            shape: 13,
            digest: 17,
            kind: RecordKind::Copy,
        }
    }

    fn both_formats() -> [Header; 2] {
        [Format::Plain, Format::Marked].map(|format| Header { format, ..header() })
    }

    #[test]
    fn record_is_read_back() {
        for (header, overhead) in both_formats().into_iter().zip([84, 101]) {
            let bytes = header.encode(b"payload");
            assert_eq!(bytes.len(), overhead + 7);
            assert_eq!(header.format.overhead(), overhead);
            assert_eq!(Header::open(&bytes), Ok((header, &b"payload"[..])));
        }
    }

    #[test]
    fn changed_bit_or_missing_byte_makes_a_record_damaged() {
        for header in both_formats() {
            let bytes = header.encode(b"payload");
            for bit in 0..bytes.len() * 8 {
                let mut turned = bytes.clone();
                turned[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(Header::open(&turned), Err(Damaged), "bit {bit}");
            }
            for len in 0..bytes.len() {
                assert_eq!(Header::open(&bytes[..len]), Err(Damaged), "cut to {len}");
            }
            let mut longer = bytes;
            longer.push(0);
            assert_eq!(Header::open(&longer), Err(Damaged));
        }
    }

    /// A later build writes such a record. The checksum is right, and the tag cannot be checked.
    #[test]
    fn record_with_tags_is_not_used() {
        let header = both_formats()[1];
        let mut bytes = header.encode(b"payload");
        let tag = 7_u64.to_le_bytes();
        bytes[HEADER] = 1;
        bytes.splice(HEADER + MARKS..HEADER + MARKS, tag);
        let sum = checksum([&bytes[..CHECKSUM], &bytes[HEADER..]]);
        bytes[ETAG].copy_from_slice(&sum.to_le_bytes());
        assert_eq!(Header::open(&bytes), Err(Damaged));
    }

    #[test]
    fn value_is_fresh_until_its_life_ends_and_never_for_longer() {
        use Freshness::{Fresh, Stale};
        let at = |now| header().freshness(now);
        let ms = Duration::from_millis;
        assert_eq!(at(1_100), Fresh(ms(400)));
        assert_eq!(at(1_499), Fresh(ms(1)));
        assert_eq!(at(1_500), Stale(ms(0)));
        assert_eq!(at(9_999), Stale(ms(8_499)));
        assert_eq!(at(0), Fresh(ms(500)), "a clock that went back");
    }
}
