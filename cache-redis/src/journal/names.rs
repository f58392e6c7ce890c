//! What was invalidated, owned, and as bytes.

use std::sync::Arc;

use cache_core::tier::{FunctionKey, RecordKey, Target};

/// What was invalidated, owned.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Invalidated {
    Key(Arc<FunctionName>, String, u64),
    Function(Arc<FunctionName>),
    All,
}

/// A function, to be told from others.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct FunctionName {
    name: String,
    version: u32,
    digest: u64,
}

impl From<&FunctionKey> for FunctionName {
    fn from(function: &FunctionKey) -> Self {
        Self {
            name: function.name.clone(),
            version: function.version,
            digest: function.digest,
        }
    }
}

impl FunctionName {
    fn key(&self) -> FunctionKey {
        FunctionKey::named(self.name.clone(), self.version, self.digest)
    }
}

impl Invalidated {
    pub(crate) fn of(target: Target<'_>) -> Self {
        match target {
            Target::Key(key) => Self::Key(
                Arc::new(FunctionName::from(&*key.function)),
                key.arguments.clone(),
                key.digest,
            ),
            Target::Function(function) => Self::Function(Arc::new(function.into())),
            Target::All => Self::All,
        }
    }

    /// Bytes that say the same.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut function = |kind: u8, function: &FunctionName| {
            bytes.push(kind);
            bytes.extend(function.version.to_le_bytes());
            bytes.extend(function.digest.to_le_bytes());
            let len = u32::try_from(function.name.len()).unwrap_or(u32::MAX);
            bytes.extend(len.to_le_bytes());
            bytes.extend(function.name.as_bytes());
        };
        match self {
            Self::All => bytes.push(b'a'),
            Self::Function(name) => function(b'f', name),
            Self::Key(name, arguments, digest) => {
                function(b'k', name);
                bytes.extend(digest.to_le_bytes());
                bytes.extend(arguments.as_bytes());
            }
        }
        bytes
    }

    /// What [`to_bytes`](Self::to_bytes) gave.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, rest) = bytes.split_first()?;
        if *kind == b'a' {
            return Some(Self::All);
        }
        let (version, rest) = rest.split_first_chunk()?;
        let (digest, rest) = rest.split_first_chunk()?;
        let (len, rest) = rest.split_first_chunk()?;
        let (name, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        let function = Arc::new(FunctionName {
            name: String::from_utf8(name.to_vec()).ok()?,
            version: u32::from_le_bytes(*version),
            digest: u64::from_le_bytes(*digest),
        });
        match kind {
            b'f' => Some(Self::Function(function)),
            b'k' => {
                let (digest, arguments) = rest.split_first_chunk()?;
                let arguments = String::from_utf8(arguments.to_vec()).ok()?;
                Some(Self::Key(function, arguments, u64::from_le_bytes(*digest)))
            }
            _ => None,
        }
    }

    /// Hands it on as a target.
    pub(crate) fn with_target<T>(&self, then: impl FnOnce(Target<'_>) -> T) -> T {
        match self {
            Self::Key(function, arguments, digest) => then(Target::Key(&RecordKey::new(
                Arc::new(function.key()),
                arguments.clone(),
                *digest,
            ))),
            Self::Function(function) => then(Target::Function(&function.key())),
            Self::All => then(Target::All),
        }
    }
}
