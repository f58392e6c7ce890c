//! The error type of this crate.

use std::borrow::Cow;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;

/// Kind of an [`Error`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// A setting has a value that cannot be used.
    Configuration,
    /// A runtime is already installed. A process has one.
    AlreadyInstalled,
    /// A function uses a tier that the runtime does not have.
    MissingTier,
    /// Two functions have one name, and would use the same records.
    DuplicateFunction,
    /// A tier is not connected, or its breaker is open.
    Unavailable,
    /// A tier did not answer within its time limit.
    TimedOut,
    /// A tier answered with an error, or with an invalid reply.
    Protocol,
    /// A value or an argument could not be encoded, or a value could not be decoded.
    Codec,
}

/// An error of the cache itself, never of the cached function.
///
/// `Display` states the problem; the function and the setting that it is about follow in
/// parentheses, and advice after `help:`. The cause is in [`source`](StdError::source), except for
/// errors of `build` and `install`, whose text contains it. Cloning is cheap.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: ErrorKind,
    problem: String,
    help: Option<Cow<'static, str>>,
    /// Name, file and line of the function.
    function: Option<String>,
    /// Origin of the setting: an environment variable, or a file.
    setting: Option<String>,
    source: Option<Arc<dyn StdError + Send + Sync>>,
}

impl Error {
    /// Makes an error whose text states the `problem`: "ttl is zero: no call could hit".
    #[must_use]
    pub fn new(kind: ErrorKind, problem: impl Into<String>) -> Self {
        Self(Arc::new(Inner {
            kind,
            problem: problem.into(),
            help: None,
            function: None,
            setting: None,
            source: None,
        }))
    }

    /// Makes an error that has a cause.
    #[must_use]
    pub fn with_source(
        kind: ErrorKind,
        problem: impl Into<String>,
        source: impl Into<Box<dyn StdError + Send + Sync>>,
    ) -> Self {
        let error = Self::new(kind, problem);
        error.changed(|inner| inner.source = Some(source.into().into()))
    }

    /// Adds advice: "use at least 1ms".
    #[must_use]
    pub fn with_help(self, help: impl Into<Cow<'static, str>>) -> Self {
        self.changed(|inner| inner.help = Some(help.into()))
    }

    /// Names the setting that the error is about by its origin, such as an environment variable.
    #[must_use]
    pub fn from_setting(self, origin: impl Into<String>) -> Self {
        self.changed(|inner| inner.setting = Some(origin.into()))
    }

    /// Names the settings that the error is about by their origins. Settings that the program made
    /// have no origin, and are not named.
    pub(crate) fn with_origins<'a>(self, origins: impl IntoIterator<Item = &'a String>) -> Self {
        let mut origins: Vec<&str> = origins.into_iter().map(|origin| &**origin).collect();
        origins.dedup();
        match origins.is_empty() {
            true => self,
            false => self.from_setting(origins.join(" and ")),
        }
    }

    /// Names the function that the error is about.
    pub(crate) fn for_function(self, function: impl fmt::Display) -> Self {
        self.changed(|inner| inner.function = Some(function.to_string()))
    }

    /// States the problem with a context in front.
    pub(crate) fn in_context(self, context: impl fmt::Display) -> Self {
        self.changed(|inner| inner.problem = format!("{context}: {}", inner.problem))
    }

    fn changed(self, change: impl FnOnce(&mut Inner)) -> Self {
        let mut inner = Arc::unwrap_or_clone(self.0);
        change(&mut inner);
        Self(Arc::new(inner))
    }

    /// Moves the text of the causes into the error's own text, for a log that shows `Display` only.
    pub(crate) fn in_full(self) -> Self {
        match self.0.source {
            None => self,
            Some(_) => self.changed(|inner| {
                inner.problem = with_causes(inner);
                inner.source = None;
            }),
        }
    }

    pub(crate) fn configuration(problem: impl Into<String>) -> Self {
        Self::new(ErrorKind::Configuration, problem)
    }

    /// Returns the kind of the error.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the advice, if there is any.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.0.help.as_deref()
    }

    /// Returns the function that the error is about, with file and line.
    #[must_use]
    pub fn function(&self) -> Option<&str> {
        self.0.function.as_deref()
    }

    /// Returns the origin of the setting that the error is about.
    #[must_use]
    pub fn setting(&self) -> Option<&str> {
        self.0.setting.as_deref()
    }

    /// Returns `true` if the same call may succeed later without a change by the caller.
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

/// Returns the problem, followed by the text of each cause.
fn with_causes(inner: &Inner) -> String {
    let mut text = inner.problem.clone();
    let mut before = inner.problem.clone();
    let mut source = inner
        .source
        .as_deref()
        .map(|source| source as &dyn StdError);
    while let Some(cause) = source {
        let own = cause.to_string();
        // Errors of other crates often contain the text of their cause.
        if !before.ends_with(&own) {
            text.push_str(": ");
            text.push_str(&own);
        }
        before = own;
        source = cause.source();
    }
    text
}

impl Inner {
    /// Writes a problem, followed by the function, the setting and the advice.
    fn write(&self, f: &mut fmt::Formatter<'_>, problem: &str) -> fmt::Result {
        f.write_str(problem)?;
        match (&self.function, &self.setting) {
            (Some(function), Some(setting)) => {
                write!(f, " (function {function}, set by {setting})")?;
            }
            (Some(function), None) => write!(f, " (function {function})")?,
            (None, Some(setting)) => write!(f, " (set by {setting})")?,
            (None, None) => {}
        }
        match &self.help {
            Some(help) => write!(f, "; help: {help}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.write(f, &self.0.problem)
    }
}

/// Formats the whole chain, so that `main` returning an `Err` shows the cause.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: ", self.0.kind)?;
        self.0.write(f, &with_causes(&self.0))
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
