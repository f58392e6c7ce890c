//! `get`: shows the value of a key.

use cache_core::tier::MarksState;
use cache_redis::inspect::Inspection;
use serde_json::{Map, Value, json};

use crate::args::Get;
use crate::failure::Failure;
use crate::marks;
use crate::output::{Output, hex};
use crate::record::{self, RecordState};
use crate::target::{self, Located};
use crate::verdict::Verdict;

pub(crate) async fn run(
    inspection: &Inspection,
    output: &Output,
    arguments: &Get,
) -> Result<Verdict, Failure> {
    let located = target::locate(inspection, &arguments.target).await?;
    let Located { shard, key, .. } = located.complete()?;
    let absent = || {
        Failure::not_found(
            format!("there is no record of `{}`", key.name()),
            "`keys` lists those that are there; memory of an instance may still have the value",
        )
    };
    let shard = shard.ok_or_else(absent)?;
    let judged = record::read(inspection, shard, &key).await?;
    let Some(bytes) = &judged.stored.record else {
        return Err(absent());
    };
    let Some(record) = &judged.record else {
        if arguments.raw {
            output.bytes(bytes)?;
            return Ok(Verdict::Wrong);
        }
        return Err(Failure::not_found(
            format!(
                "the bytes of `{}` are no record, or were changed",
                key.name()
            ),
            "`--raw` writes them; the next load replaces them",
        ));
    };
    if arguments.raw {
        output.bytes(&record.payload)?;
        return Ok(Verdict::Fine);
    }
    if !matches!(judged.state, RecordState::Good | RecordState::NoValue) {
        let (state, meaning) = (judged.state.name(), judged.state.meaning());
        output.note(
            &format!("this record answers no call: {state} ({meaning})"),
            None,
        );
        if let Some(marks) = judged
            .marks
            .filter(|marks| marks.state != MarksState::Valid)
        {
            output.note(&marks::reason(&marks), None);
        }
    }
    let mut shown = Map::new();
    if output.is_json {
        shown.insert("key".to_owned(), shard.record_name(&key).into());
        shown.insert("state".to_owned(), judged.state.name().into());
    }
    if arguments.header {
        shown.insert("header".to_owned(), record::header(&judged, record));
    }
    match record::value(inspection, record).await {
        Ok(value) if shown.is_empty() => output.document(&value)?,
        Ok(value) => {
            shown.insert("value".to_owned(), value);
            output.document(&Value::Object(shown))?;
        }
        Err(error) if output.is_json || arguments.header => {
            shown.insert("undecoded".to_owned(), json!(error.to_string()));
            shown.insert("bytes".to_owned(), hex(&record.payload).into());
            output.document(&Value::Object(shown))?;
        }
        Err(error) => {
            let text = format!("the value is shown as bytes: {error}");
            output.note(&text, Some("set `Redis::observe` in the program"));
            output.line(&record::shown_bytes(&record.payload))?;
        }
    }
    Ok(Verdict::Fine)
}
