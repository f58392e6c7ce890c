//! JSON, within the memory that a result may take.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::decoder::Budget;
use super::error::DecodeError;

/// Decodes one value, after which nothing may follow.
pub(super) fn decode(payload: &[u8], mut budget: Budget) -> Result<Value, DecodeError> {
    let mut source = serde_json::Deserializer::from_slice(payload);
    let value = Reader(&mut budget).deserialize(&mut source);
    let value = value.and_then(|value| source.end().map(|()| value));
    value.map_err(|error| DecodeError::new(format!("the payload cannot be read as JSON: {error}")))
}

/// Reads one value and spends its memory.
struct Reader<'b>(&'b mut Budget);

impl<'de> DeserializeSeed<'de> for Reader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        self.0.value().map_err(Error::custom)?;
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Reader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of JSON")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Value, E> {
        self.0.text(text).map_err(E::custom)?;
        Ok(text.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        self.0.enter().map_err(A::Error::custom)?;
        let mut elements = Vec::new();
        while let Some(element) = source.next_element_seed(Reader(self.0))? {
            elements.push(element);
        }
        self.0.leave();
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        self.0.enter().map_err(A::Error::custom)?;
        let mut entries = Map::new();
        while let Some(key) = source.next_key::<String>()? {
            let noted = self.0.entry(entries.len(), &key);
            noted.map_err(A::Error::custom)?;
            entries.insert(key, source.next_value_seed(Reader(self.0))?);
        }
        self.0.leave();
        Ok(Value::Object(entries))
    }
}
