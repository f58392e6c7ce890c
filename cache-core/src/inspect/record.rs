//! Records, as a tool reads them.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decode::{PayloadCodec, decode};
use super::error::DecodeError;
use crate::codec::layout::Layout;
use crate::record::{self, Damaged, Header, Mark};

/// A record of a tier: its header, its marks and its payload.
///
/// Its bytes are read and checked by the same code as in a call. Whether a record is valid depends
/// on more than its bytes: on the epoch of its function, on the history of its tier, and on what
/// was invalidated by tag.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Record {
    /// Number of the codec that wrote the payload; see [`PayloadCodec::of_id`].
    pub codec: u8,
    /// Kind of the record.
    pub kind: RecordKind,
    /// Version of the function.
    pub version: u32,
    /// Fingerprint of the value type.
    pub fingerprint: u64,
    /// When the record was sent, in milliseconds since the Unix epoch by the clock of the tier.
    pub created: u64,
    /// How long the value is fresh from then on.
    pub life: Duration,
    /// How long the load took, in whole milliseconds.
    pub load: Duration,
    /// Digest of the key. Serialized, it is 32 hexadecimal digits.
    #[serde(with = "hexadecimal")]
    pub digest: u128,
    /// Epoch of the function before the load.
    pub epoch: u64,
    /// History of the store before the load.
    pub history: u64,
    /// The ledger of the tier before the load. `None` if the function has no marks, or the tier no
    /// ledger.
    #[serde(default)]
    pub mark: Option<Mark>,
    /// Digests of the tags.
    #[serde(default)]
    pub tags: Vec<u64>,
    /// The value, as the codec wrote it.
    pub payload: Vec<u8>,
}

/// Kind of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum RecordKind {
    /// A value that was loaded, or put by hand.
    Value,
    /// A copy of the record of another tier.
    Copy,
    /// No value: the value that replaced the previous record cannot be stored.
    Nothing,
    /// The load found that there is no value (`none_ttl`).
    Absent,
}

/// Bytes that are no record, or a record that was cut short or changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DamagedRecord;

impl fmt::Display for DamagedRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bytes are no record, or the record was changed")
    }
}

impl std::error::Error for DamagedRecord {}

impl From<Damaged> for DamagedRecord {
    fn from(Damaged: Damaged) -> Self {
        Self
    }
}

impl Record {
    /// Reads a record. Bytes of any length and content are read without a panic.
    ///
    /// # Errors
    /// The bytes are no record, or their checksum is wrong.
    pub fn read(bytes: &[u8]) -> Result<Self, DamagedRecord> {
        let record::Record {
            header,
            marks,
            payload,
        } = Header::open(bytes)?;
        Ok(Self {
            codec: header.codec,
            kind: header.kind.into(),
            version: header.version,
            fingerprint: header.shape,
            created: header.created,
            life: Duration::from_millis(header.life),
            load: Duration::from_millis(header.load.into()),
            digest: header.digest,
            epoch: header.epoch,
            history: header.history,
            mark: (marks.mark.base != 0).then_some(marks.mark),
            tags: marks.tags.to_vec(),
            payload: payload.to_vec(),
        })
    }

    /// Returns the digest by which messages and invalidations name the key.
    #[must_use]
    pub fn short_digest(&self) -> u64 {
        self.digest as u64
    }

    /// Returns the time since `now` for which the value is still fresh, if it is. `now` is in
    /// milliseconds since the Unix epoch, by the clock of the tier.
    #[must_use]
    pub fn fresh_for(&self, now: u64) -> Option<Duration> {
        let age = Duration::from_millis(now.saturating_sub(self.created));
        self.life.checked_sub(age).filter(|left| !left.is_zero())
    }

    /// Decodes the value. `layout` is that of the record's fingerprint.
    ///
    /// # Errors
    /// As [`decode`]; also if the record has no value, or the codec is not one of the crate's own.
    pub fn value(&self, layout: Option<&Layout>) -> Result<serde_json::Value, DecodeError> {
        if matches!(self.kind, RecordKind::Nothing | RecordKind::Absent) {
            return Err(DecodeError::new("the record has no value"));
        }
        let codec = PayloadCodec::of_id(self.codec)
            .ok_or_else(|| DecodeError::new("the codec of the record is one of the program"))?;
        decode(codec, layout, &self.payload)
    }
}

/// A number of 128 bits as a text, because few readers of JSON have such numbers.
mod hexadecimal {
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        number: &u128,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&format_args!("{number:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<u128, D::Error> {
        let text = String::deserialize(deserializer)?;
        u128::from_str_radix(&text, 16).map_err(de::Error::custom)
    }
}

impl From<record::RecordKind> for RecordKind {
    fn from(kind: record::RecordKind) -> Self {
        match kind {
            record::RecordKind::Value => Self::Value,
            record::RecordKind::Copy => Self::Copy,
            record::RecordKind::Nothing => Self::Nothing,
            record::RecordKind::Absent => Self::Absent,
        }
    }
}
