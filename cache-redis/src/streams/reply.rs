//! What the server answers about streams. Read by hand: the client's own types put an entry's fields into a map, which has no order
//! and each name once.

use cache_core::stream::StreamEntry;
use cache_core::{Error, ErrorKind};
use redis::Value;

/// What became of an entry that somebody asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Entry(StreamEntry),
    /// It was given to a reader of a group, and is not in the stream any more. Its id.
    Trimmed(String),
}

/// What XAUTOCLAIM answers.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Claimed {
    /// Where to go on.
    pub(super) next: String,
    pub(super) entries: Vec<StreamEntry>,
}

/// The entries in an answer to XREAD or XREADGROUP that asked for one stream.
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

/// Those that are still there.
pub(super) fn there(found: Vec<Found>) -> Vec<StreamEntry> {
    let entry = |found| match found {
        Found::Entry(entry) => Some(entry),
        Found::Trimmed(_) => None,
    };
    found.into_iter().filter_map(entry).collect()
}

/// A list of entries.
pub(super) fn found(answer: Value) -> Result<Vec<Found>, Error> {
    let Value::Array(entries) = answer else {
        return Err(unknown());
    };
    entries.into_iter().map(entry).collect()
}

pub(super) fn claimed(answer: Value) -> Result<Claimed, Error> {
    // Behind these two are the ids of those that were trimmed, which the server has taken from the group.
    let Value::Array(parts) = answer else {
        return Err(unknown());
    };
    let mut parts = parts.into_iter();
    let (Some(next), Some(entries)) = (parts.next(), parts.next()) else {
        return Err(unknown());
    };
    Ok(Claimed {
        next: text(next)?,
        entries: there(found(entries)?),
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

/// As it is, where it is UTF-8: an entry with another name is an entry all the same.
fn text(answer: Value) -> Result<String, Error> {
    let text = String::from_utf8(bytes(answer)?);
    Ok(text.unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned()))
}

fn unknown() -> Error {
    Error::new(
        ErrorKind::Protocol,
        "read what the server answers about a stream",
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
    fn fields_keep_their_order_and_their_names() {
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
    fn what_is_no_list_of_entries_is_an_error() {
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
