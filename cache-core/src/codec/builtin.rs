//! The codecs of a runtime: those that come with the crate, and those of the user.

use std::fmt;
#[cfg(feature = "custom-codec")]
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

#[cfg(feature = "custom-codec")]
use super::Codec;
use super::CodecError;
use super::reader::{ReadError, Reader};
use super::writer::Writer;
use crate::error::Error;

/// The format of a record's payload. The crate's own are compiled for each value type; codecs of
/// the user are called through `erased_serde`.
#[derive(Clone)]
pub(crate) enum Encoding {
    Postcard,
    #[cfg(feature = "bincode")]
    Bincode,
    #[cfg(feature = "msgpack")]
    MessagePack,
    #[cfg(feature = "json")]
    Json,
    #[cfg(feature = "custom-codec")]
    Custom(Arc<dyn Codec>),
}

/// Codecs that need a feature, with the name of the feature.
const FEATURES: &[(&str, &str)] = &[
    ("bincode", "bincode"),
    ("msgpack", "msgpack"),
    ("json", "json"),
];

impl Encoding {
    /// The codec byte of the record header. It is never used for another codec.
    pub(crate) fn id(&self) -> u8 {
        match self {
            Self::Postcard => 1,
            #[cfg(feature = "bincode")]
            Self::Bincode => 2,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => 3,
            #[cfg(feature = "json")]
            Self::Json => 4,
            #[cfg(feature = "custom-codec")]
            Self::Custom(codec) => codec.id(),
        }
    }

    /// Returns `true` if a field that is left out would be read as its neighbour, because nothing
    /// in the bytes identifies the fields.
    pub(crate) fn needs_every_field(&self) -> bool {
        match self {
            Self::Postcard => true,
            #[cfg(feature = "bincode")]
            Self::Bincode => true,
            #[cfg(feature = "msgpack")]
            Self::MessagePack => false,
            #[cfg(feature = "json")]
            Self::Json => false,
            #[cfg(feature = "custom-codec")]
            // Unknown. The check of its round trip finds types that it cannot read.
            Self::Custom(_) => false,
        }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Postcard => "postcard",
            #[cfg(feature = "bincode")]
            Self::Bincode => "bincode",
            #[cfg(feature = "msgpack")]
            Self::MessagePack => "msgpack",
            #[cfg(feature = "json")]
            Self::Json => "json",
            #[cfg(feature = "custom-codec")]
            Self::Custom(codec) => codec.name(),
        }
    }

    pub(crate) fn encode<V: Serialize>(
        &self,
        value: &V,
        out: &mut Vec<u8>,
    ) -> Result<(), CodecError> {
        match self {
            Self::Postcard => match value.serialize(&mut Writer::new(out)) {
                Ok(()) => {}
                Err(error) => return Err(not_written(error)),
            },
            #[cfg(feature = "bincode")]
            Self::Bincode => {
                bincode::serde::encode_into_std_write(value, out, bincode::config::standard())?;
            }
            // With field names, so that `flatten` and `skip_serializing_if` can be read back.
            #[cfg(feature = "msgpack")]
            Self::MessagePack => rmp_serde::encode::write_named(out, value)?,
            #[cfg(feature = "json")]
            Self::Json => serde_json::to_writer(out, value)?,
            #[cfg(feature = "custom-codec")]
            Self::Custom(codec) => codec.encode(value, out)?,
        }
        Ok(())
    }

    /// Reads one value. Bytes after it are an error, because no codec writes them.
    pub(crate) fn decode<V: DeserializeOwned>(&self, bytes: &[u8]) -> Result<V, CodecError> {
        let (value, left) = match self {
            Self::Postcard => {
                let mut reader = Reader::record(bytes);
                match V::deserialize(&mut reader) {
                    Ok(value) => (value, reader.left()),
                    Err(error) => return Err(not_read(error)),
                }
            }
            #[cfg(feature = "bincode")]
            Self::Bincode => {
                let (value, read) =
                    bincode::serde::decode_from_slice(bytes, bincode::config::standard())?;
                (value, bytes.len() - read)
            }
            #[cfg(feature = "msgpack")]
            Self::MessagePack => {
                let mut rest = bytes;
                let value = rmp_serde::from_read(&mut rest)?;
                (value, rest.len())
            }
            #[cfg(feature = "json")]
            Self::Json => (serde_json::from_slice(bytes)?, 0),
            #[cfg(feature = "custom-codec")]
            Self::Custom(codec) => {
                let mut value = None;
                codec.decode(bytes, &mut |deserializer| {
                    value = Some(erased_serde::deserialize(deserializer)?);
                    Ok(())
                })?;
                (value.ok_or("the codec never called `decode`")?, 0)
            }
        };
        if left > 0 {
            return Err(left_over(left));
        }
        Ok(value)
    }
}

// The errors are boxed here and not by `?`, which would do it in the code of each value type.

#[cold]
#[inline(never)]
fn not_written(error: postcard::Error) -> CodecError {
    error.into()
}

#[cold]
#[inline(never)]
fn not_read(error: ReadError) -> CodecError {
    error.into()
}

#[cold]
#[inline(never)]
fn left_over(left: usize) -> CodecError {
    format!("{left} bytes follow the value").into()
}

impl fmt::Display for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl fmt::Debug for Encoding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The codecs of a runtime, by name.
#[derive(Debug)]
pub(crate) struct Encodings {
    known: Vec<Encoding>,
}

impl Encodings {
    pub(crate) fn builtin() -> Self {
        Self {
            known: vec![
                Encoding::Postcard,
                #[cfg(feature = "bincode")]
                Encoding::Bincode,
                #[cfg(feature = "msgpack")]
                Encoding::MessagePack,
                #[cfg(feature = "json")]
                Encoding::Json,
            ],
        }
    }

    /// # Errors
    /// If the name or the id is taken, or the id is reserved for the crate.
    #[cfg(feature = "custom-codec")]
    pub(crate) fn add(&mut self, codec: Arc<dyn Codec>) -> Result<(), Error> {
        if codec.id() < 128 {
            return Err(Error::configuration(format!(
                "codec `{}` has the id {}: ids below 128 are reserved",
                codec.name(),
                codec.id()
            )));
        }
        let new = Encoding::Custom(codec);
        if let Some(known) = self
            .known
            .iter()
            .find(|known| known.name() == new.name() || known.id() == new.id())
        {
            return Err(Error::configuration(format!(
                "codec `{new}` (id {}) has the name or the id of codec `{known}` (id {})",
                new.id(),
                known.id()
            )));
        }
        self.known.push(new);
        Ok(())
    }

    /// # Errors
    /// If no codec has that name. The error lists the codecs, or names the feature that is needed.
    pub(crate) fn find(&self, name: &str) -> Result<Encoding, Error> {
        if let Some(known) = self.known.iter().find(|known| known.name() == name) {
            return Ok(known.clone());
        }
        let names: Vec<_> = self.known.iter().map(Encoding::name).collect();
        Err(Error::configuration(
            match FEATURES.iter().find(|(feature, _)| *feature == name) {
                Some((_, feature)) => {
                    format!("codec `{name}` needs the feature `{feature}`, which is off")
                }
                None => format!(
                    "unknown codec `{name}`: the codecs are {}",
                    names.join(", ")
                ),
            },
        ))
    }
}
