//! Description of a function.
//!
//! A description goes one way: an attribute or a builder declares it as a `Definition`, an
//! `Override` turns that into a `Definition` with other settings, and a `Plan` matches the result
//! with the tiers of a runtime.

use std::borrow::Cow;
use std::fmt;

use humantime::format_duration;

use crate::error::Error;
use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
use crate::function::tags::TagTemplates;
use crate::function::times::option::TimeOption;
use crate::function::times::{RefreshAhead, Times};
use crate::function::ttl::Ttl;
use crate::key::Piece;
use crate::level::{Level, Levels};

/// Description of a function: its name, its place in the code, and its options.
///
/// An expansion builds it in a `static`, from the options that its attribute has and
/// [`DEFAULT`](Self::DEFAULT) for the others.
#[derive(Clone, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an expansion writes its fields; core and macros have one version"
)]
pub struct Definition {
    /// Name of the function, unique in the process. It is part of the key of every record.
    pub name: Cow<'static, str>,
    /// File of the function, for errors.
    pub file: &'static str,
    /// Line of the function, for errors.
    pub line: u32,
    /// `true` if the code names the function; `false` if the name is its path.
    pub is_named: bool,
    /// `true` if the function is in an `impl`. The names of its instantiations contain the type, so
    /// several methods may have one path.
    pub in_impl: bool,
    /// `true` if each choice of types is a function of its own, whose name ends with the types:
    /// the function is generic, or in an `impl`.
    pub has_instances: bool,
    /// `true` for a plain `fn`, whose calls block their threads.
    pub is_blocking: bool,
    /// Version of the values. Records of another version are not read.
    pub version: u32,
    /// Time to live of the values.
    pub ttl: Ttl,
    /// Tiers that the function uses; `None` for all tiers of the runtime.
    pub tiers: Option<Levels>,
    /// Name of the codec that writes records; `None` for the runtime's default.
    pub codec: Option<Cow<'static, str>>,
    /// Form of the arguments in the keys of lower tiers; if it is empty, all arguments are shown.
    pub template: &'static [Piece],
    /// Names of the parts of the key, in their order: of arguments, or of what is in the key of
    /// one. Empty if they are not known. Tools show them; no key depends on them.
    pub arguments: &'static [&'static str],
    /// Behavior while this instance is isolated; `None` for the runtime's default.
    pub when_isolated: Option<WhenIsolated>,
    /// Callers that share one load of a key.
    pub single_flight: SingleFlight,
    /// Limit on how stale a returned value may be.
    pub consistency: Consistency,
    /// Times besides the ttl.
    pub times: Times,
    /// Tags of the values, as far as the arguments tell them.
    pub tags: TagTemplates,
    /// Origins of the settings that an override replaced.
    pub origins: Origins,
}

/// Origins of the settings that overrides replaced; `None` if the setting is the code's.
#[derive(Clone, Debug)]
pub struct Origins {
    pub(crate) ttl: Option<String>,
    pub(crate) tiers: Option<String>,
    /// By [`TimeOption`].
    pub(crate) times: [Option<String>; TimeOption::COUNT],
}

impl Definition {
    /// Default of every option. The name, the place and the ttl have no default, and are empty.
    pub const DEFAULT: Self = Self {
        name: Cow::Borrowed(""),
        file: "",
        line: 0,
        is_named: false,
        in_impl: false,
        has_instances: false,
        is_blocking: false,
        version: 1,
        ttl: Ttl::each(&[]),
        tiers: None,
        codec: None,
        template: &[],
        arguments: &[],
        when_isolated: None,
        single_flight: SingleFlight::Cluster,
        consistency: Consistency::Bounded,
        times: Times::NONE,
        tags: TagTemplates::NONE,
        origins: Origins {
            ttl: None,
            tiers: None,
            times: [const { None }; TimeOption::COUNT],
        },
    };

    /// Returns `true` if the function may have records in tiers below memory.
    pub(crate) fn has_records(&self) -> bool {
        self.tiers != Some(Levels::MEMORY)
    }

    /// Returns `true` if the records of the function carry marks: it has tags, or its values can be
    /// expired without being dropped.
    pub(crate) fn is_marked(&self) -> bool {
        self.tags.are_declared() || !self.times.longest_window().is_zero()
    }

    /// Adds the function to an error, with the origins of the settings that the error is about.
    pub(crate) fn in_error<'a>(
        &self,
        error: Error,
        origins: impl IntoIterator<Item = &'a String>,
    ) -> Error {
        error.for_function(self).with_origins(origins)
    }

    /// Checks that the function uses every tier for which its own ttl has a time.
    ///
    /// # Errors
    /// `tiers` does not list a tier for which the ttl has a time. The time would have no effect.
    pub(crate) fn check_ttl_tiers(&self) -> Result<(), Error> {
        let Some(tiers) = self.tiers else {
            return Ok(());
        };
        match self.ttl.own_levels().find(|level| !tiers.contains(*level)) {
            None => Ok(()),
            Some(level) => {
                let problem = format!("ttl has a time for {level}, which `tiers` does not list");
                Err(Error::configuration(problem))
            }
        }
    }

    /// Checks the times besides the ttl, of a function that uses these levels.
    ///
    /// # Errors
    /// [`Times::check`] refuses a time, or a time does not fit the levels or the ttl. The error
    /// names the function, and the origins of the settings that it is about.
    pub(crate) fn check_times(&self, levels: Levels) -> Result<(), Error> {
        let checked = self.times.check(self.consistency, self.is_blocking);
        checked
            .map_err(|invalid| self.in_error(invalid.error, self.origins_of(&invalid.options)))?;
        self.check_refresh_ahead(levels)?;
        if self.times.error_ttl.is_none() || levels.is_empty() || levels.contains(Level::L1) {
            return Ok(());
        }
        let error = Error::configuration(
            "`error_ttl` needs l1, which the function does not use: errors are kept in memory alone",
        )
        .with_help("add l1 to the tiers, or remove `error_ttl`");
        let origins = self.origins_of(&[TimeOption::ErrorTtl]);
        Err(self.in_error(error, origins.chain(&self.origins.tiers)))
    }

    fn check_refresh_ahead(&self, levels: Levels) -> Result<(), Error> {
        let shortest = levels.iter().filter_map(|level| self.ttl.of(level)).min();
        let (Some(RefreshAhead::AtLeast(ahead)), Some(ttl)) = (self.times.refresh_ahead, shortest)
        else {
            return Ok(());
        };
        if ahead < ttl {
            return Ok(());
        }
        let problem = format!(
            "`refresh_ahead` is {}, and the shortest ttl is {}: every call would load the value \
             again",
            format_duration(ahead),
            format_duration(ttl)
        );
        let error = Error::configuration(problem)
            .with_help("make `refresh_ahead` shorter than the ttl of every tier");
        let origins = self.origins_of(&[TimeOption::RefreshAhead]);
        Err(self.in_error(error, origins.chain(&self.origins.ttl)))
    }

    /// Returns the origins of those options that an override set.
    fn origins_of<'a>(&'a self, options: &'a [TimeOption]) -> impl Iterator<Item = &'a String> {
        let origins = options
            .iter()
            .map(|option| &self.origins.times[*option as usize]);
        origins.flatten()
    }
}

/// Formats the name and the place, as errors and logs show a function.
impl fmt::Display for Definition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` ({}:{})", self.name, self.file, self.line)
    }
}
