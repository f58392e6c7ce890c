//! The marks of a record: its tags, the ledger before its load, and later entries of the ledger.

use cache_core::inspect::Record;
use cache_core::tier::{Marks, RecordKey};
use cache_redis::inspect::{InspectedShard, JudgedMarks, MarksReason};
use serde_json::{Value, json};

use crate::failure::Failure;

/// The largest number of tags that are shown to people.
const MOST_SHOWN: usize = 8;

/// Judges the marks of a record by the ledger of its shard. `None` if it has none.
pub(crate) async fn judge(
    shard: &InspectedShard,
    key: &RecordKey,
    record: &Record,
) -> Result<Option<JudgedMarks>, Failure> {
    if record.mark.is_none() && record.tags.is_empty() {
        return Ok(None);
    }
    let marks = Marks {
        // Without a mark, no ledger is that of the load.
        mark: record.mark.unwrap_or_default(),
        tags: &record.tags,
        key: record.short_digest(),
        function: key.function.digest,
    };
    Ok(Some(shard.judge(marks).await?))
}

/// The marks for people, a part on each line.
pub(crate) fn text(record: &Record, judged: &JudgedMarks) -> String {
    let tags: Vec<String> = record.tags.iter().map(|tag| digest(*tag)).collect();
    let tags = match tags.len() {
        0 => "no tags".to_owned(),
        1 => format!("a tag, with the digest {}", tags[0]),
        number => {
            let shown = tags[..number.min(MOST_SHOWN)].join(", ");
            let more = match number.saturating_sub(MOST_SHOWN) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            format!("{number} tags, with the digests {shown}{more}")
        }
    };
    let mark = match record.mark {
        None => "stored when the server had no ledger".to_owned(),
        Some(mark) => format!(
            "loaded after entry {} of the ledger {}",
            mark.number, mark.base
        ),
    };
    let ledger = match judged.ledger {
        None => String::new(),
        Some(ledger) if Some(ledger.base) == record.mark.map(|mark| mark.base) => {
            format!(", which is at entry {} now", ledger.last)
        }
        Some(ledger) => format!("; the ledger is {} now", ledger.base),
    };
    format!("{tags}\n{mark}{ledger}\n{}", reason(judged))
}

/// The marks as JSON.
pub(crate) fn document(record: &Record, judged: &JudgedMarks) -> Value {
    let ledger = judged
        .ledger
        .map(|ledger| json!({"base": ledger.base, "floor": ledger.floor, "last": ledger.last}));
    let (name, tag, entry) = parts(judged.reason);
    json!({
        "tags": record.tags.len(),
        "mark": record.mark.map(|mark| json!({"base": mark.base, "number": mark.number})),
        "ledger": ledger,
        "reason": name,
        "tag": tag.map(digest),
        "entry": entry,
    })
}

/// The reason for the state of the record, as a sentence.
pub(crate) fn reason(judged: &JudgedMarks) -> String {
    match judged.reason {
        MarksReason::NoEntry => {
            "no later entry of the ledger is of it: nothing of it was invalidated or expired"
                .to_owned()
        }
        MarksReason::TagInvalidated { tag, number } => {
            let tag = digest(tag);
            format!("entry {number} of the ledger invalidated its tag {tag} after the load began")
        }
        MarksReason::TagExpired { tag, number } => {
            let tag = digest(tag);
            format!("entry {number} of the ledger expired its tag {tag} after the load began")
        }
        MarksReason::KeyExpired { number } => {
            format!("entry {number} of the ledger expired the key after the load began")
        }
        MarksReason::FunctionExpired { number } => {
            format!("entry {number} of the ledger expired the function after the load began")
        }
        MarksReason::NoMark => {
            "an earlier build stored it without a mark: nothing says what was invalidated since"
                .to_owned()
        }
        MarksReason::NoLedger => {
            "the server has no ledger: it was lost, and with it what was invalidated or expired"
                .to_owned()
        }
        MarksReason::OtherLedger => {
            "the ledger is not that of the load: all tags were invalidated, or it was lost"
                .to_owned()
        }
        MarksReason::Forgotten => {
            let floor = judged.ledger.map_or(0, |ledger| ledger.floor);
            format!("the ledger has only entries after {floor}, and the load began before that one")
        }
        _ => "the reason is not known to this version".to_owned(),
    }
}

/// The name of a reason, the digest of the tag, and the number of the entry.
fn parts(reason: MarksReason) -> (&'static str, Option<u64>, Option<u64>) {
    match reason {
        MarksReason::NoEntry => ("no entry", None, None),
        MarksReason::TagInvalidated { tag, number } => ("tag invalidated", Some(tag), Some(number)),
        MarksReason::TagExpired { tag, number } => ("tag expired", Some(tag), Some(number)),
        MarksReason::KeyExpired { number } => ("key expired", None, Some(number)),
        MarksReason::FunctionExpired { number } => ("function expired", None, Some(number)),
        MarksReason::NoMark => ("no mark", None, None),
        MarksReason::NoLedger => ("no ledger", None, None),
        MarksReason::OtherLedger => ("other ledger", None, None),
        MarksReason::Forgotten => ("forgotten", None, None),
        _ => ("unknown", None, None),
    }
}

/// A digest of a tag, as the audit and `tail` write it.
pub(crate) fn digest(tag: u64) -> String {
    format!("{tag:016x}")
}
