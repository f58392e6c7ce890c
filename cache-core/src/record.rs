//! Records: a value outside this process, behind a header that says whose it is.
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
//! All numbers are little-endian. The checksum (XXH3-64) covers all bytes before it and the payload, so that no bit of a
//! record can turn without being seen. Times are of the tier's own clock.

use std::time::Duration;

use xxhash_rust::xxh3::Xxh3;

const MAGIC: [u8; 4] = *b"MTCr";
const FORMAT: u8 = 1;
const CHECKSUM: usize = 76;
pub(crate) const HEADER: usize = 84;

/// Where a record's etag is in it.
pub const ETAG: std::ops::Range<usize> = CHECKSUM..HEADER;

/// What tells a record from every other, as far as 64 bits go: its checksum, as the record has it.
pub type Etag = [u8; ETAG.end - ETAG.start];

/// The etag of a record.
pub(crate) fn seal_of(bytes: &[u8]) -> Option<Etag> {
    bytes.get(ETAG)?.try_into().ok()
}

/// What a record must carry to be valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "as a record's header has it")]
pub struct Stamp {
    /// The function's: another after all its keys were invalidated.
    pub epoch: u64,
    /// The store's: another after it lost something, or may have.
    pub history: u64,
}

/// What a record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) codec: u8,
    /// When the fill was sent, in milliseconds of the tier's clock.
    pub(crate) created: u64,
    /// How long it lives from then on, in milliseconds.
    pub(crate) life: u64,
    /// How long the load took, in milliseconds.
    pub(crate) load: u32,
    pub(crate) version: u32,
    /// What the function's epoch was before the load.
    pub(crate) epoch: u64,
    /// The store's history then.
    pub(crate) history: u64,
    pub(crate) shape: u64,
    pub(crate) digest: u128,
    pub(crate) kind: RecordKind,
}

/// What a record is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordKind {
    /// A value that was loaded, or put by hand.
    Value,
    /// Another tier's record: its life is what that had left.
    Copy,
    /// No value: what was there was replaced by one that cannot be stored.
    Nothing,
}

impl RecordKind {
    fn number(self) -> u16 {
        match self {
            Self::Value => 0,
            Self::Copy => 1,
            Self::Nothing => 2,
        }
    }

    fn of_number(number: u16) -> Option<Self> {
        let all = [Self::Value, Self::Copy, Self::Nothing];
        all.into_iter().find(|kind| kind.number() == number)
    }
}

/// Why bytes are not the record that was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// Not written by this format, cut short, or changed since.
    Damaged,
    /// Whole, but of another key, version, shape or codec.
    Mismatch,
}

impl Header {
    /// Serializes a record: this header, its checksum and the payload.
    pub(crate) fn etag(&self, payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.extend(MAGIC);
        bytes.extend([FORMAT, self.codec]);
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
        bytes.extend(checksum(&bytes, payload).to_le_bytes());
        bytes.extend(payload);
        bytes
    }

    /// Reads a header and the payload behind it.
    pub(crate) fn open(bytes: &[u8]) -> Result<(Self, &[u8]), Unusable> {
        let (head, payload) = bytes.split_at_checked(HEADER).ok_or(Unusable::Damaged)?;
        let (header, len, sum) = Self::parse(head)?;
        if len as usize != payload.len() || sum != checksum(&head[..CHECKSUM], payload) {
            return Err(Unusable::Damaged);
        }
        Ok((header, payload))
    }

    /// Reads the header of a record that is known by its etag: which covers it, and was checked when the record was read.
    pub(crate) fn of_known(head: &[u8], etag: Etag) -> Result<Self, Unusable> {
        let (header, _, sum) = Self::parse(head)?;
        if sum != u64::from_le_bytes(etag) {
            return Err(Unusable::Damaged);
        }
        Ok(header)
    }

    fn parse(head: &[u8]) -> Result<(Self, u32, u64), Unusable> {
        if head.len() < HEADER {
            return Err(Unusable::Damaged);
        }
        let mut fields = Fields(head);
        if fields.take() != MAGIC || fields.take() != [FORMAT] {
            return Err(Unusable::Damaged);
        }
        let [codec] = fields.take();
        let kind = u16::from_le_bytes(fields.take());
        let header = Self {
            codec,
            created: u64::from_le_bytes(fields.take()),
            life: u64::from_le_bytes(fields.take()),
            load: u32::from_le_bytes(fields.take()),
            version: u32::from_le_bytes(fields.take()),
            epoch: u64::from_le_bytes(fields.take()),
            shape: u64::from_le_bytes(fields.take()),
            history: u64::from_le_bytes(fields.take()),
            digest: u128::from_le_bytes(fields.take()),
            kind: RecordKind::of_number(kind).ok_or(Unusable::Damaged)?,
        };
        let len = u32::from_le_bytes(fields.take());
        let sum = u64::from_le_bytes(fields.take());
        Ok((header, len, sum))
    }

    /// What it carries of the store's state before the load.
    pub(crate) fn stamp(&self) -> Stamp {
        Stamp {
            epoch: self.epoch,
            history: self.history,
        }
    }

    /// What is left of its life at `now`; `None` when it is over. A clock that went back does not make it longer.
    pub(crate) fn left(&self, now: u64) -> Option<Duration> {
        let age = now.saturating_sub(self.created);
        self.life
            .checked_sub(age)
            .filter(|left| *left > 0)
            .map(Duration::from_millis)
    }
}

fn checksum(head: &[u8], payload: &[u8]) -> u64 {
    let mut hasher = Xxh3::new();
    hasher.update(head);
    hasher.update(payload);
    hasher.digest()
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    /// The caller has checked that a whole header is there.
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

    #[test]
    fn a_record_is_read_back() {
        let bytes = header().etag(b"payload");
        assert_eq!(bytes.len(), HEADER + 7);
        assert_eq!(Header::open(&bytes), Ok((header(), &b"payload"[..])));
    }

    #[test]
    fn every_turned_bit_and_every_cut_is_seen() {
        let bytes = header().etag(b"payload");
        for bit in 0..bytes.len() * 8 {
            let mut turned = bytes.clone();
            turned[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Header::open(&turned), Err(Unusable::Damaged), "bit {bit}");
        }
        for len in 0..bytes.len() {
            assert_eq!(
                Header::open(&bytes[..len]),
                Err(Unusable::Damaged),
                "cut to {len}"
            );
        }
        let mut longer = bytes;
        longer.push(0);
        assert_eq!(Header::open(&longer), Err(Unusable::Damaged));
    }

    #[test]
    fn a_life_ends_once_and_never_grows() {
        assert_eq!(header().left(1_100), Some(Duration::from_millis(400)));
        assert_eq!(header().left(1_500), None);
        assert_eq!(header().left(9_999), None);
        assert_eq!(header().left(0), Some(Duration::from_millis(500)));
    }
}
