//! A line of the report.

use serde_json::{Value, json};

use crate::output::printable;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Nothing is wrong.
    Ok,
    /// Something that is worth knowing, and harms nothing.
    Info,
    /// The server does not say.
    NotKnown,
    /// Something will go wrong under some conditions.
    Warn,
    /// The cache cannot be used, or breaks a promise.
    Fail,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Info => "info",
            Self::NotKnown => "not known",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// A line of the report: what was found, what it means, and what mends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) check: &'static str,
    pub(super) state: State,
    /// The server or the shard.
    at: String,
    what: String,
    meaning: Option<String>,
    command: Option<String>,
    advice: Option<String>,
}

impl Finding {
    pub(super) fn new(
        check: &'static str,
        state: State,
        at: &str,
        what: impl Into<String>,
    ) -> Self {
        Self {
            check,
            state,
            at: at.to_owned(),
            what: what.into(),
            meaning: None,
            command: None,
            advice: None,
        }
    }

    pub(super) fn ok(check: &'static str, at: &str, what: impl Into<String>) -> Self {
        Self::new(check, State::Ok, at, what)
    }

    pub(super) fn not_known(check: &'static str, at: &str, why: impl Into<String>) -> Self {
        Self::new(check, State::NotKnown, at, why)
    }

    /// Says what the finding means.
    pub(super) fn means(self, meaning: impl Into<String>) -> Self {
        Self {
            meaning: Some(meaning.into()),
            ..self
        }
    }

    /// Names the command that mends it.
    pub(super) fn mended_by(self, command: impl Into<String>) -> Self {
        Self {
            command: Some(command.into()),
            ..self
        }
    }

    /// Says what mends it, if no command does.
    pub(super) fn advises(self, advice: impl Into<String>) -> Self {
        Self {
            advice: Some(advice.into()),
            ..self
        }
    }

    pub(super) fn text(&self) -> String {
        let Self {
            check, at, what, ..
        } = self;
        // Names that are found on a server may have the end of a line in them.
        let (at, what) = (printable(at), printable(what));
        let mut text = format!("{:<9} {check:<14} {at}: {what}", self.state.name());
        if let Some(meaning) = &self.meaning {
            text += &format!("\n          {}", printable(meaning));
        }
        if let Some(command) = &self.command {
            text += &format!("\n          run: {}", printable(command));
        }
        if let Some(advice) = &self.advice {
            text += &format!("\n          help: {}", printable(advice));
        }
        text
    }

    pub(super) fn document(&self) -> Value {
        json!({
            "check": self.check,
            "state": self.state.name(),
            "at": self.at,
            "what": self.what,
            "meaning": self.meaning,
            "command": self.command,
            "advice": self.advice,
        })
    }
}
