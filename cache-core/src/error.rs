//! The one error of this crate: what was tried, on what, and what stood in the way.

use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// What kind of failure an [`Error`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting has a value that cannot be used.
    Configuration,
    /// A runtime is installed already; there is one per process.
    AlreadyInstalled,
    /// A function asks for a tier that the runtime does not have.
    MissingTier,
    /// Two functions carry the same name and would share their records.
    DuplicateFunction,
    /// A tier is not connected, or its breaker is open.
    Unavailable,
    /// A tier did not answer within its time limit.
    TimedOut,
    /// A tier answered with an error, or with something that is no answer.
    Protocol,
    /// A value or an argument could not be turned into bytes, or bytes into a value.
    Codec,
}

/// A failure of the cache itself, never of the function that is cached.
///
/// `Display` is a lowercase fragment that reads after "failed to"; what stood behind the failure is in
/// [`source`](StdError::source), but for errors of `build` and `install`, which say it all themselves. Cloning is cheap.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Error {
    /// An error of `kind` whose text is `message`. For tiers and codecs outside this crate.
    #[must_use]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            source: None,
        }))
    }

    /// The same, with what caused it.
    #[must_use]
    pub fn with_source(
        kind: ErrorKind,
        message: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            source: Some(source.into()),
        }))
    }

    /// The same with all that stood behind it in its own text: for who reads it in a log that shows no more.
    pub(crate) fn in_full(self) -> Self {
        match self.0.source {
            None => self,
            Some(_) => Self::new(self.0.kind, self.chain().to_string()),
        }
    }

    /// Its text, and that of each error behind it.
    fn chain(&self) -> impl fmt::Display {
        fmt::from_fn(|f| {
            f.write_str(&self.0.message)?;
            let mut source = self.source();
            let mut before = self.0.message.clone();
            while let Some(cause) = source {
                let text = cause.to_string();
                // Others' errors say what caused them in their own text.
                if !before.ends_with(&text) {
                    write!(f, ": {text}")?;
                }
                before = text;
                source = cause.source();
            }
            Ok(())
        })
    }

    pub(crate) fn configuration(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, message)
    }

    /// What kind of failure this is.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Whether the same call may succeed later without any change by the caller.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        match self.0.kind {
            ErrorKind::Unavailable | ErrorKind::TimedOut => true,
            ErrorKind::Configuration
            | ErrorKind::AlreadyInstalled
            | ErrorKind::MissingTier
            | ErrorKind::DuplicateFunction
            | ErrorKind::Protocol
            | ErrorKind::Codec => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

/// The whole chain, so that `main` returning an `Err` shows the cause.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.0.kind, self.chain())
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.0
            .source
            .as_deref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}
