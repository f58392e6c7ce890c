//! How values of a function become records, and how records are read.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::TierBinding;
use crate::codec::{Encoding, ErasedType, Shape, check_round_trip};
#[cfg(feature = "inspect")]
use crate::codec::{TracedType, layout::Layout};
use crate::entry::{Held, KnownRecord};
use crate::error::{Error, ErrorKind};
use crate::function::definition::Definition;
use crate::key::{Key, KeyRef};
use crate::reason::{Damage, Mismatch, Outdated};
use crate::record::{Damaged, Format, Freshness, Header, Record, RecordKind, RecordMarks};
use crate::tier::{FunctionKey, Stamp};

/// Writes the values of one function as records, and reads them.
pub(crate) struct Records {
    function: String,
    version: u32,
    /// Part of the digest of each key.
    name_hash: u64,
    encoding: Encoding,
    /// The longest time for which an expired record may be used.
    window: Duration,
    /// Set if values of the function can have tags. Its records then carry marks.
    is_tagged: bool,
    /// Set if its records carry marks.
    is_marked: bool,
    /// Set if the function keeps the result that there is no value.
    keeps_absence: bool,
    /// The shape of the value type, traced on first use.
    shape: OnceLock<Shape>,
    /// The value type, for its layout. Known once the shape is.
    #[cfg(feature = "inspect")]
    traced: OnceLock<TracedType>,
    /// The layout of the value type, traced when it is first published. `None` if there is none.
    #[cfg(feature = "inspect")]
    layout: OnceLock<Option<Layout>>,
    /// The result of writing a value and reading it back: [`UNKNOWN`], [`YES`] or [`NO`].
    round_trip: AtomicU8,
    /// Set after the first report that they do not.
    reported: AtomicBool,
}

const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

impl OpenedRecord {
    fn new(header: &Header, marks: RecordMarks, value: Option<Held>, freshness: Freshness) -> Self {
        Self {
            value,
            freshness,
            marks,
            life: Duration::from_millis(header.life),
            load: Duration::from_millis(header.load.into()),
        }
    }
}

/// Why a record that was read is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InvalidRecord {
    /// It expired, carries another stamp, or stands for a value that could not be stored. It was
    /// valid once.
    Outdated(Outdated),
    /// It is damaged, or cannot be decoded.
    Damaged(Damage),
    /// It belongs to another key, version, type or codec.
    Mismatch(Mismatch),
}

/// The properties of a record that can be used: it is a valid record of `key` in `tier`.
#[derive(Clone, Copy)]
pub(crate) struct Expected<'a> {
    pub(crate) tier: &'a TierBinding,
    pub(crate) key: &'a Key,
    /// The stamp of a valid record, or the reason why no record is valid.
    pub(crate) stamp: Result<Stamp, Outdated>,
    /// The time of the tier, if it is known.
    pub(crate) now: Option<u64>,
    pub(crate) value_type: &'a dyn ErasedType,
}

/// The content of a record that can be used.
#[derive(Debug)]
pub(crate) struct OpenedRecord {
    /// The value. `None` if the record says that there is none.
    pub(crate) value: Option<Held>,
    /// For a fresh value, the longest time that a copy of it may live.
    pub(crate) freshness: Freshness,
    /// The marks, by which it is judged further.
    pub(crate) marks: RecordMarks,
    /// How long the value is fresh from its load on.
    pub(crate) life: Duration,
    /// How long the load took.
    pub(crate) load: Duration,
}

impl From<Damaged> for InvalidRecord {
    fn from(Damaged: Damaged) -> Self {
        Self::Damaged(Damage::Bytes)
    }
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Records")
            .field("function", &self.function)
            .finish_non_exhaustive()
    }
}

impl Records {
    pub(super) fn new(
        function: &FunctionKey,
        name_hash: u64,
        encoding: Encoding,
        definition: &Definition,
    ) -> Self {
        let times = &definition.times;
        Self {
            function: function.name.clone(),
            version: function.version,
            name_hash,
            encoding,
            window: times.longest_window(),
            is_tagged: definition.tags.are_declared(),
            is_marked: definition.is_marked(),
            keeps_absence: times.none_ttl.is_some(),
            shape: OnceLock::new(),
            #[cfg(feature = "inspect")]
            traced: OnceLock::new(),
            #[cfg(feature = "inspect")]
            layout: OnceLock::new(),
            round_trip: AtomicU8::new(UNKNOWN),
            reported: AtomicBool::new(false),
        }
    }

    /// The digest of a key, which its record carries.
    pub(super) fn digest(&self, key: &KeyRef<'_>) -> u128 {
        key.digest(self.name_hash)
    }

    /// Returns `false` if values of the function are known not to survive being written and read.
    pub(crate) fn can_be_written(&self) -> bool {
        self.round_trip.load(Ordering::Relaxed) != NO
    }

    /// The format in which records are written.
    pub(crate) fn format(&self) -> Format {
        match self.is_marked {
            true => Format::Marked,
            false => Format::Plain,
        }
    }

    /// A header for a record of a key, without stamp and times.
    pub(crate) fn header(&self, key: &Key, value_type: &dyn ErasedType) -> Header {
        Header {
            format: self.format(),
            codec: self.encoding.id(),
            version: self.version,
            shape: self.shape(value_type).fingerprint,
            digest: self.digest(&key.as_ref()),
            kind: RecordKind::Value,
            created: 0,
            life: 0,
            load: 0,
            epoch: 0,
            history: 0,
        }
    }

    /// Returns `true` if an expired record may be used.
    pub(crate) fn has_window(&self) -> bool {
        !self.window.is_zero()
    }

    /// Returns how long a tier keeps a record whose value is fresh for `life`: it is also kept
    /// while its value is stale and may be returned.
    pub(crate) fn kept_for(&self, kind: RecordKind, life: Duration) -> Duration {
        match kind {
            RecordKind::Value | RecordKind::Copy => life.saturating_add(self.window),
            RecordKind::Nothing | RecordKind::Absent => life,
        }
    }

    /// Reads a record.
    pub(crate) fn open(
        &self,
        bytes: &[u8],
        expected: Expected<'_>,
    ) -> Result<OpenedRecord, InvalidRecord> {
        let Record {
            header,
            marks,
            payload,
        } = Header::open(bytes)?;
        let freshness = self.check((&header, &marks), expected)?;
        let value = match header.kind {
            RecordKind::Absent => None,
            _ => Some(self.decode(payload, expected.value_type)?),
        };
        Ok(OpenedRecord::new(&header, marks, value, freshness))
    }

    fn decode(&self, payload: &[u8], value_type: &dyn ErasedType) -> Result<Held, InvalidRecord> {
        let decoded = value_type.decode(&self.encoding, payload);
        decoded.map_err(|_| InvalidRecord::Damaged(Damage::Value))
    }

    /// Notes that a record is whole and of this codec, and still cannot be read: another build
    /// wrote it, or some values of the type do not survive the codec. The next write finds out
    /// which.
    pub(crate) fn doubt_round_trip(&self) {
        self.round_trip.store(UNKNOWN, Ordering::Relaxed);
    }

    /// Reads the header of a record that is recognized by its etag, because memory has its value,
    /// `known`.
    pub(crate) fn open_known(
        &self,
        head: &[u8],
        (record, known): (&KnownRecord, &Held),
        expected: Expected<'_>,
    ) -> Result<OpenedRecord, InvalidRecord> {
        let header = Header::of_known(head, record.etag)?;
        let marks = record.marks.clone();
        let freshness = self.check((&header, &marks), expected)?;
        if !expected.value_type.is_of(known) {
            return Err(InvalidRecord::Mismatch(Mismatch::Shape));
        }
        Ok(OpenedRecord::new(
            &header,
            marks,
            Some(Arc::clone(known)),
            freshness,
        ))
    }

    /// Checks by its header that a record can be used. Its marks are judged later, because that may
    /// take a request to the tier.
    fn check(
        &self,
        (header, marks): (&Header, &RecordMarks),
        expected: Expected<'_>,
    ) -> Result<Freshness, InvalidRecord> {
        let own = self.header(expected.key, expected.value_type);
        let differences = [
            (header.codec != own.codec, Mismatch::Codec),
            (header.version != own.version, Mismatch::Version),
            (header.digest != own.digest, Mismatch::Key),
            (header.shape != own.shape, Mismatch::Shape),
            (!self.takes_marks(header, marks), Mismatch::Tags),
        ];
        if let Some((_, mismatch)) = differences.into_iter().find(|(differs, _)| *differs) {
            return Err(InvalidRecord::Mismatch(mismatch));
        }
        let fresh = self.check_own(header, expected);
        fresh.map_err(InvalidRecord::Outdated)
    }

    /// Checks a record of the key, as this function writes it now.
    fn check_own(&self, header: &Header, expected: Expected<'_>) -> Result<Freshness, Outdated> {
        let stamp = expected.stamp?;
        if header.history != stamp.history {
            return Err(Outdated::OtherHistory);
        }
        if header.epoch != stamp.epoch {
            return Err(Outdated::OtherEpoch);
        }
        let tier = expected.tier;
        let window = match header.kind {
            RecordKind::Value | RecordKind::Copy => self.window,
            RecordKind::Absent if self.keeps_absence => Duration::ZERO,
            RecordKind::Absent => return Err(Outdated::Absence),
            RecordKind::Nothing => return Err(Outdated::Nothing),
        };
        let shard = || tier.store.of(header.digest as u64);
        let now = expected.now.unwrap_or_else(|| shard().tier.now());
        match header.freshness(now) {
            Freshness::Fresh(left) => Ok(Freshness::Fresh(tier.left_for_copies(header, left))),
            Freshness::Stale(since) if since < window => Ok(Freshness::Stale(since)),
            Freshness::Stale(_) => Err(Outdated::Expired),
        }
    }

    /// Returns `true` if the function can judge a record with these marks, or without any. Another
    /// build wrote one that it cannot judge, in which the function had tags, or had none.
    fn takes_marks(&self, header: &Header, marks: &RecordMarks) -> bool {
        match self.is_marked {
            true => header.format == Format::Marked || !self.is_tagged,
            false => marks.are_empty(),
        }
    }

    /// Returns `true` if a record holds a value of the key, as this function writes it now. For
    /// copies, whose type is not at hand.
    pub(crate) fn is_of(&self, (header, marks): (&Header, &RecordMarks), key: &Key) -> bool {
        header.kind != RecordKind::Nothing
            && self.takes_marks(header, marks)
            && header.digest == self.digest(&key.as_ref())
            && header.version == self.version
            && self.shape.get().map(|shape| shape.fingerprint) == Some(header.shape)
    }

    /// The shape of the value type, which each record names. It is traced on first use.
    fn shape(&self, value_type: &dyn ErasedType) -> Shape {
        *self.shape.get_or_init(|| {
            let shape = value_type.shape();
            #[cfg(feature = "inspect")]
            if let Some(traced) = value_type.traced() {
                let _ = self.traced.set(traced);
            }
            if !shape.traced {
                tracing::info!(
                    target: "multi_tier_cached::record",
                    function = %self.function,
                    value = value_type.name(),
                    "the shape of the value type cannot be traced; its records are distinguished by its name only, so raise \
                     `version` when its fields change"
                );
            }
            shape
        })
    }

    /// The fingerprint of the value type, once it is known.
    #[cfg(feature = "inspect")]
    pub(crate) fn fingerprint(&self) -> Option<u64> {
        self.shape.get().map(|shape| shape.fingerprint)
    }

    /// The layout of the value type, once the type is known, if it has one.
    #[cfg(feature = "inspect")]
    pub(crate) fn layout(&self) -> Option<&Layout> {
        let traced = self.traced.get()?;
        self.layout.get_or_init(|| traced.layout()).as_ref()
    }

    /// Returns the payload of a record, or `None` if the value does not survive the codec. The
    /// first payload is read back to find that out.
    pub(crate) fn payload(&self, held: &Held, value_type: &dyn ErasedType) -> Option<Vec<u8>> {
        if !self.can_be_written() {
            return None;
        }
        let mut payload = Vec::new();
        if let Err(source) = value_type.encode(&self.encoding, held, &mut payload) {
            // This says nothing about other values of the type: the next may be written.
            let problem = format!("a value cannot be written with {}", self.encoding);
            self.report(&Error::with_source(ErrorKind::Codec, problem, source));
            return None;
        }
        match self.check_payload(held, value_type, &payload) {
            Ok(()) => Some(payload),
            Err(error) => {
                self.round_trip.store(NO, Ordering::Relaxed);
                self.report(&error);
                None
            }
        }
    }

    fn check_payload(
        &self,
        held: &Held,
        value_type: &dyn ErasedType,
        payload: &[u8],
    ) -> Result<(), Error> {
        if self.encoding.needs_every_field() && value_type.skips_a_field(held) {
            let problem = format!(
                "a value skips a field, and {} needs every field",
                self.encoding
            );
            return Err(Error::new(ErrorKind::Codec, problem));
        }
        if self.round_trip.load(Ordering::Relaxed) == UNKNOWN {
            check_round_trip(value_type, &self.encoding, payload)?;
            self.round_trip.store(YES, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Logs once that a value of this function does not survive its codec.
    fn report(&self, error: &Error) {
        if !self.reported.swap(true, Ordering::Relaxed) {
            tracing::error!(
                target: "multi_tier_cached::record",
                function = %self.function,
                codec = %self.encoding,
                error = ?error,
                "a value does not survive its codec and stays out of the shared tiers; use `codec = \"json\"` or \
                 `codec = \"msgpack\"`, or change the serde attributes of its type"
            );
        }
    }
}
