//! Parses replies about streams. The client's own types put the fields of an entry into a map,
//! which would lose their order and all but one field of the same name.

use cache_core::stream::StreamEntry;
use cache_core::{Error, ErrorKind};
use redis::Value;

/// An entry in a reply.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Entry(StreamEntry),
    /// The id of an entry that was delivered to a reader of a group and is no longer in the stream.
    Trimmed(String),
}

/// The reply to XAUTOCLAIM.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    /// The id at which the next step begins.
    pub(super) next: String,
    pub(super) entries: Vec<StreamEntry>,
}

/// Parses the reply to XREAD or XREADGROUP for one stream.
pub(super) fn of_stream(answer: Value) -> Result<Vec<Found>, Error> {
    match answer {
        Value::Nil => Ok(Vec::new()),
        Value::Map(streams) => {
            let mut streams = streams.into_iter().map(|(_, entries)| entries);
            streams.next().map_or_else(|| Ok(Vec::new()), found)
        }
        _ => Err(unknown()),
    }
}

/// The entries that are still in the stream.
pub(super) fn entries(found: Vec<Found>) -> Vec<StreamEntry> {
    let entry = |found| match found {
        Found::Entry(entry) => Some(entry),
        Found::Trimmed(_) => None,
    };
    found.into_iter().filter_map(entry).collect()
}

/// Parses a list of entries.
pub(super) fn found(answer: Value) -> Result<Vec<Found>, Error> {
    let Value::Array(entries) = answer else {
        return Err(unknown());
    };
    entries.into_iter().map(entry).collect()
}

pub(super) fn claimed(answer: Value) -> Result<Claimed, Error> {
    // A third part has the ids of trimmed entries, which the server has removed from the group.
    let Value::Array(parts) = answer else {
        return Err(unknown());
    };
    let mut parts = parts.into_iter();
    let (Some(next), Some(listed)) = (parts.next(), parts.next()) else {
        return Err(unknown());
    };
    Ok(Claimed {
        next: text(next)?,
        entries: entries(found(listed)?),
    })
}

fn entry(answer: Value) -> Result<Found, Error> {
    let Value::Array(parts) = answer else {
        return Err(unknown());
    };
    let [id, fields] = <[Value; 2]>::try_from(parts).map_err(|_| unknown())?;
    let id = text(id)?;
    let fields = match fields {
        Value::Nil => return Ok(Found::Trimmed(id)),
        Value::Array(fields) => fields,
        _ => return Err(unknown()),
    };
    let mut fields = fields.into_iter();
    let mut pairs = Vec::with_capacity(fields.len() / 2);
    while let Some(name) = fields.next() {
        pairs.push((text(name)?, bytes(fields.next().ok_or_else(unknown)?)?));
    }
    Ok(Found::Entry(StreamEntry::new(id, pairs)))
}

fn bytes(answer: Value) -> Result<Vec<u8>, Error> {
    match answer {
        Value::BulkString(bytes) => Ok(bytes),
        Value::SimpleString(text) => Ok(text.into_bytes()),
        _ => Err(unknown()),
    }
}

/// Converts bytes to text. Bytes that are not UTF-8 are replaced, so that the entry is not lost.
fn text(answer: Value) -> Result<String, Error> {
    let text = String::from_utf8(bytes(answer)?);
    Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn unknown() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "the reply of the server about a stream has an unknown form",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bulk(text: &[u8]) -> Value {
        Value::BulkString(text.to_vec())
    }

    fn listed(fields: Value) -> Value {
        Value::Array(vec![Value::Array(vec![bulk(b"1-0"), fields])])
    }

    #[test]
    fn fields_keep_their_order_and_duplicate_names() {
        let texts: [&[u8]; 6] = [b"z", b"1", b"\xff", b"\xff", b"z", b""];
        let fields = Value::Array(texts.map(bulk).into());
        let expected = [
            ("z".to_owned(), b"1".to_vec()),
            ("\u{fffd}".to_owned(), vec![0xff]),
            ("z".to_owned(), Vec::new()),
        ];
        let entry = Found::Entry(StreamEntry::new("1-0".to_owned(), expected.into()));
        assert_eq!(found(listed(fields)).unwrap(), [entry]);
    }

    #[test]
    fn reply_that_is_not_a_list_of_entries_is_an_error() {
        assert_eq!(
            found(listed(Value::Nil)).unwrap(),
            [Found::Trimmed("1-0".to_owned())]
        );
        let odd = Value::Array(vec![bulk(b"a")]);
        for wrong in [listed(odd), listed(Value::Int(1)), Value::Okay] {
            assert_eq!(found(wrong).unwrap_err().kind(), ErrorKind::Protocol);
        }
        assert_eq!(of_stream(Value::Nil).unwrap(), []);
        assert!(of_stream(Value::Okay).is_err());
        assert!(claimed(Value::Array(vec![bulk(b"0-0")])).is_err());
    }
}
