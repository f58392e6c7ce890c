//! A record as it is stored, and what is wrong with it.

use cache_core::inspect::{PayloadCodec, PublishedFunction, Record, RecordKind};
use cache_core::tier::{FunctionKey, MarksState, RecordKey};
use cache_redis::inspect::{InspectedShard, Inspection, JudgedMarks, Stored};
use serde_json::{Value, json};

use crate::failure::Failure;
use crate::output::{duration, hex};
use crate::{marks, published};

/// Index of the last byte that is read of a record: the longest that `Redis::max_record_bytes`
/// permits is read to its end, because the checksum is of the whole.
pub(crate) const LONGEST: usize = (512 << 20) - 1;

/// A record that was read, and judged as the tier judges it.
#[derive(Debug)]
pub(crate) struct Judged {
    pub(crate) stored: Stored,
    /// `None` if there is none, or if it is damaged.
    pub(crate) record: Option<Record>,
    pub(crate) state: RecordState,
    /// The judgement by the ledger; `None` if the record has no marks.
    pub(crate) marks: Option<JudgedMarks>,
    /// The server's clock.
    pub(crate) now: u64,
}

/// The state of a record, by which a call is answered or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RecordState {
    /// There is no record.
    Absent,
    /// A call is answered by it.
    Good,
    /// It says that there is no value.
    NoValue,
    /// The value could not be stored.
    Nothing,
    /// Its life has ended.
    Stale,
    /// Its key, its function or a tag was expired, or the ledger that would say so was lost.
    Expired,
    /// The function was invalidated.
    OtherEpoch,
    /// Everything was invalidated, or the server lost data.
    OtherHistory,
    /// A tag was invalidated.
    TagInvalidated,
    /// It carries no mark, and the function needs one.
    Unmarked,
    /// The bytes are no record.
    Damaged,
    /// It is of another version, codec or type.
    Mismatch,
}

impl RecordState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Good => "good",
            Self::NoValue => "no value",
            Self::Nothing => "nothing",
            Self::Stale => "stale",
            Self::Expired => "expired",
            Self::OtherEpoch => "other epoch",
            Self::OtherHistory => "other history",
            Self::TagInvalidated => "tag invalidated",
            Self::Unmarked => "unmarked",
            Self::Damaged => "damaged",
            Self::Mismatch => "mismatch",
        }
    }

    pub(crate) fn meaning(self) -> &'static str {
        match self {
            Self::Absent => "there is no record, so a call loads the value",
            Self::Good => "a call that memory does not answer is answered from here",
            Self::NoValue => "the load found that there is no value, and calls are answered so",
            Self::Nothing => {
                "the value that replaced the last record could not be stored, so a call loads it"
            }
            Self::Stale => {
                "the life of the value has ended: a call loads it, or gets the stale value within a window of the function"
            }
            Self::Expired => {
                "the value was expired, or the ledger of expiries does not reach back so far: a call loads it, or gets the stale value within a window of the function"
            }
            Self::OtherEpoch => {
                "the function was invalidated after the record was stored, or the key of its epoch was lost"
            }
            Self::OtherHistory => {
                "everything was invalidated after the record was stored, or the server lost data"
            }
            Self::TagInvalidated => {
                "a tag of the value was invalidated after its load began, or the ledger of tags does not reach back so far"
            }
            Self::Unmarked => {
                "the function has tags or a window for stale values, and a build without them stored the record: nothing says what was invalidated since"
            }
            Self::Damaged => {
                "the bytes are no record, or were changed; the next load replaces them"
            }
            Self::Mismatch => {
                "the record is of another version, codec or type, or has tags, unlike the function that was published last"
            }
        }
    }

    /// Returns `true` if nothing that the cache does leads to it.
    pub(crate) fn is_wrong(self) -> bool {
        matches!(self, Self::Damaged | Self::Mismatch)
    }
}

/// Reads and judges the record of a key.
pub(crate) async fn read(
    inspection: &Inspection,
    shard: &InspectedShard,
    key: &RecordKey,
) -> Result<Judged, Failure> {
    let stored = shard.read(key, LONGEST).await?;
    let now = inspection.node_of(shard).clock().await?;
    let published = published_of(inspection, &key.function).await;
    let record = stored.record.as_deref().map(Record::read);
    let mut judged = Judged {
        stored,
        record: None,
        state: RecordState::Absent,
        marks: None,
        now,
    };
    match record {
        None => {}
        Some(Err(_)) => judged.state = RecordState::Damaged,
        Some(Ok(record)) => {
            judged.marks = marks::judge(shard, key, &record).await?;
            judged.state = judge(&judged, key, &record, published.as_ref());
            judged.record = Some(record);
        }
    }
    Ok(judged)
}

/// Returns what was published of the function whose name is escaped in a key.
async fn published_of(
    inspection: &Inspection,
    function: &FunctionKey,
) -> Option<PublishedFunction> {
    let all = published::functions(inspection).await.into_iter();
    let mut all = all.filter(|published| published.version == function.version);
    all.find(|published| FunctionKey::new(&published.name, published.version).name == function.name)
}

/// Judges a record as a call does.
fn judge(
    judged: &Judged,
    key: &RecordKey,
    record: &Record,
    published: Option<&PublishedFunction>,
) -> RecordState {
    let is_other = |published: &PublishedFunction| is_other(record, published);
    if record.version != key.function.version || published.is_some_and(is_other) {
        return RecordState::Mismatch;
    }
    if judged.stored.history != Some(record.history) {
        return RecordState::OtherHistory;
    }
    if judged.stored.epoch != Some(record.epoch) {
        return RecordState::OtherEpoch;
    }
    if record.kind == RecordKind::Nothing {
        return RecordState::Nothing;
    }
    match judged.marks.map(|marks| marks.state) {
        None if published.is_some_and(|published| published.is_marked) => {
            return RecordState::Unmarked;
        }
        None | Some(MarksState::Valid) => {}
        Some(MarksState::Expired) => return RecordState::Expired,
        Some(MarksState::Invalidated) => return RecordState::TagInvalidated,
    }
    match record.fresh_for(judged.now) {
        None => RecordState::Stale,
        Some(_) if record.kind == RecordKind::Absent => RecordState::NoValue,
        Some(_) => RecordState::Good,
    }
}

/// Returns `true` if the function that was published last cannot read a record.
fn is_other(record: &Record, published: &PublishedFunction) -> bool {
    // An older version published no more than the name.
    let is_described = !published.codec.is_empty();
    let codec = PayloadCodec::of_id(record.codec).map(PayloadCodec::name);
    let is_of_codec = codec.is_none_or(|codec| codec == published.codec);
    let has_marks = record.mark.is_some() || !record.tags.is_empty();
    let shape = published.fingerprint;
    is_described && (!is_of_codec || has_marks && !published.is_marked)
        || shape.is_some_and(|shape| shape != record.fingerprint)
}

/// Returns the value of a record as JSON, or why it cannot be shown so.
pub(crate) async fn value(
    inspection: &Inspection,
    record: &Record,
) -> Result<Value, cache_core::inspect::DecodeError> {
    let layout = published::layout(inspection, record.fingerprint).await;
    record.value(layout.as_ref())
}

/// The header of a record as JSON.
pub(crate) fn header(judged: &Judged, record: &Record) -> Value {
    let codec = PayloadCodec::of_id(record.codec);
    json!({
        "state": judged.state.name(),
        "kind": format!("{:?}", record.kind).to_lowercase(),
        "version": record.version,
        "codec": codec.map_or_else(|| format!("custom {}", record.codec), |codec| codec.name().to_owned()),
        "fingerprint": format!("{:016x}", record.fingerprint),
        "digest": format!("{:032x}", record.digest),
        "created_ms": record.created,
        "age": duration(judged.now.saturating_sub(record.created)),
        "life_ms": u64::try_from(record.life.as_millis()).unwrap_or(u64::MAX),
        "load_ms": u64::try_from(record.load.as_millis()).unwrap_or(u64::MAX),
        "epoch": record.epoch,
        "history": record.history,
        "tags": record.tags.iter().map(|tag| marks::digest(*tag)).collect::<Vec<_>>(),
        "marks": judged.marks.map(|marks| marks::document(record, &marks)),
        "bytes": record.payload.len(),
    })
}

/// The bytes of a value that cannot be decoded, for people.
pub(crate) fn shown_bytes(payload: &[u8]) -> String {
    const MOST: usize = 256;
    let shown = hex(&payload[..payload.len().min(MOST)]);
    match payload.len().checked_sub(MOST) {
        Some(more @ 1..) => format!("{shown} and {more} bytes more"),
        _ => shown,
    }
}
