//! What operators say of functions in place of what the functions say themselves: from a file, from the environment.

use std::time::Duration;

use crate::error::Error;
use crate::function::definition::Definition;
use crate::function::ttl::{Consistency, Policies, Ttl};
use crate::level::Level;

/// Names that an error lists at most.
const MOST_NAMES: usize = 12;

/// By the names of functions.
#[derive(Clone, Debug, Default)]
pub(crate) struct Overrides(Vec<(String, Override)>);

/// What takes the place of what one function says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Override {
    pub(crate) time: Option<Time>,
    pub(crate) tiers: Option<Vec<Level>>,
    /// Who said it, for errors.
    pub(crate) source: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Time {
    Ttl(Ttl),
    Policy(String),
}

/// What a function asks for in the end.
#[derive(Debug)]
pub(crate) struct EffectivePolicy {
    pub(crate) ttl: Ttl,
    pub(crate) tiers: Option<Vec<Level>>,
    /// Whether these times are said for this function alone: each is for a tier that it uses.
    pub(crate) is_of_its_tiers: bool,
    /// The origin of the override, if there is one.
    pub(crate) source: Option<String>,
}

impl Overrides {
    /// What is said later takes the place of what was said earlier; of what it does not speak, that holds.
    pub(crate) fn set(&mut self, function: String, said: Override) {
        let Some((_, before)) = self.0.iter_mut().find(|(known, _)| *known == function) else {
            self.0.push((function, said));
            return;
        };
        let holds = (before.time.is_some() && said.time.is_none())
            || (before.tiers.is_some() && said.tiers.is_none());
        *before = Override {
            source: match holds {
                true => format!("{} and {}", before.source, said.source),
                false => said.source,
            },
            time: said.time.or_else(|| before.time.take()),
            tiers: said.tiers.or_else(|| before.tiers.take()),
        };
    }

    /// What a function asks, with what was said of it in its place.
    ///
    /// # Errors
    /// A policy that nobody knows.
    pub(crate) fn of(
        &self,
        definition: &Definition,
        policies: &Policies,
    ) -> Result<EffectivePolicy, Error> {
        let policy = &definition.policy;
        let mut all = self.0.iter();
        let said = all.find(|(name, _)| *name == definition.name);
        let said = said.map(|(_, said)| said);
        let source = said.map(|said| said.source.clone());
        let origin = |error: Error| match &source {
            Some(source) => error.for_function(definition).from_setting(source),
            None => error.for_function(definition),
        };
        let ttl = match said.and_then(|said| said.time.as_ref()) {
            Some(Time::Ttl(ttl)) => Ok(*ttl),
            Some(Time::Policy(name)) => policies.find(name),
            None => policy.ttl.resolve(policies),
        };
        let own = policy.tiers.as_deref();
        let tiers = match said.and_then(|said| said.tiers.clone()) {
            Some(tiers) if own.is_some_and(|own| tiers.iter().any(|tier| !own.contains(tier))) => {
                // Its values need not be such as can be written; and an instance without this setting would not tell the tier of
                // what it invalidates.
                let own: Vec<_> = own
                    .iter()
                    .copied()
                    .flatten()
                    .map(Level::to_string)
                    .collect();
                let problem = format!(
                    "an override adds a tier that the function does not list: its code has `tiers = \"{}\"`",
                    own.join(",")
                );
                return Err(origin(Error::configuration(problem).with_help(
                    "an override can only remove tiers; add the tier in the code",
                )));
            }
            None => own.map(<[Level]>::to_vec),
            said => said,
        };
        let ttl = ttl.map_err(origin)?;
        // A policy is for many functions, and who takes tiers out need not speak of their times.
        let is_of_its_tiers = match said {
            Some(said) => matches!(said.time, Some(Time::Ttl(_))),
            None => !policy.ttl.is_policy(),
        };
        if is_of_its_tiers
            && let Some(tiers) = &tiers
            && let Some(level) = ttl.named().find(|level| !tiers.contains(level))
        {
            return Err(origin(Error::configuration(format!(
                "ttl has a time for {level}, which `tiers` does not list"
            ))));
        }
        if said.is_some_and(|said| said.tiers.is_some())
            && policy.coherence.consistency == Consistency::Strong
            && tiers.as_deref() == Some(&[Level::L1])
        {
            return Err(origin(Error::configuration(
                "an override removes the tiers below memory, and `consistency = \"strong\"` needs one",
            )));
        }
        Ok(EffectivePolicy {
            ttl,
            tiers,
            is_of_its_tiers,
            source,
        })
    }

    /// # Errors
    /// Names of functions that the program does not have: what was said of them would be ignored.
    pub(crate) fn check(&self, functions: &[&Definition]) -> Vec<Error> {
        let is_there = |name: &str| functions.iter().any(|definition| definition.name == name);
        let unknown = self.0.iter().filter(|(name, _)| !is_there(name));
        unknown
            .map(|(name, said)| {
                if let Some((of_all, _)) = name.split_once('<')
                    && functions
                        .iter()
                        .any(|known| known.has_instances && known.name == of_all)
                {
                    let problem = format!("unknown function `{name}`");
                    let help = format!("name `{of_all}`: an override is for all its instances");
                    return Error::configuration(problem)
                        .from_setting(&*said.source)
                        .with_help(help);
                }
                let mut names: Vec<&str> = functions.iter().map(|known| &*known.name).collect();
                // Those that end alike first.
                let last = |name: &str| name.rsplit("::").next().map(str::to_owned);
                names.sort_unstable_by_key(|known| (last(known) != last(name), *known));
                names.dedup();
                let more = if names.len() > MOST_NAMES {
                    ", …"
                } else {
                    ""
                };
                names.truncate(MOST_NAMES);
                let help = match names.is_empty() {
                    true => "the program has no functions".to_owned(),
                    false => format!("the functions are {}{more}", names.join(", ")),
                };
                Error::configuration(format!("unknown function `{name}`"))
                    .from_setting(&*said.source)
                    .with_help(help)
            })
            .collect()
    }
}

/// `users::by_id ttl=30s tiers=l1,l2; prices::of policy=short`.
///
/// # Errors
/// What is wrong with which part.
pub(crate) fn parse(text: &str, source: &str) -> Result<Vec<(String, Override)>, Error> {
    let mut all = Vec::new();
    for part in text
        .split(';')
        .map(str::trim)
        .filter(|part| !part.is_empty())
    {
        let mut words = part.split_whitespace();
        let name = words.next().unwrap_or_default();
        let mut said = Override {
            source: source.to_owned(),
            ..Override::default()
        };
        for word in words {
            let (what, value) = word.split_once('=').unwrap_or((word, ""));
            said.say(what, value)
                .map_err(|error| error.in_context(format!("`{part}`")))?;
        }
        if said.time.is_none() && said.tiers.is_none() {
            let problem = format!("`{part}` changes nothing of `{name}`");
            return Err(Error::configuration(problem).with_help(
                "write a function's name with `ttl=30s`, `policy=short` or `tiers=l1,l2`",
            ));
        }
        if all.iter().any(|(known, _)| known == name) {
            return Err(Error::configuration(format!(
                "`{part}`: `{name}` is listed twice"
            )));
        }
        all.push((name.to_owned(), said));
    }
    Ok(all)
}

impl Override {
    fn say(&mut self, what: &str, value: &str) -> Result<(), Error> {
        let time = match what {
            "ttl" if value.starts_with('{') => {
                let problem = format!("`{what}={value}` has a time for each tier");
                return Err(Error::configuration(problem)
                    .with_help("write one time for all tiers, or use a functions file"));
            }
            "ttl" => Time::Ttl(duration(value)?.into()),
            "policy" => Time::Policy(value.to_owned()),
            "tiers" => {
                if self.tiers.replace(levels(value)?).is_some() {
                    return Err(Error::configuration("`tiers` is set twice"));
                }
                return Ok(());
            }
            _ => {
                return Err(Error::configuration(format!("unknown option `{what}`")).with_help(
                    "the options are `ttl`, `policy` and `tiers`; write a time in one word (`1h30m`) and separate functions by `;`",
                ));
            }
        };
        match self.time.replace(time) {
            None => Ok(()),
            Some(_) => Err(Error::configuration("the ttl is set twice")),
        }
    }
}

/// As people write them: `1h 30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, Error> {
    humantime::parse_duration(text).map_err(|error| {
        Error::configuration(format!("`{text}` is not a duration such as `30s`: {error}"))
    })
}

/// As attributes write them: `l1,l2`.
pub(crate) fn levels(text: &str) -> Result<Vec<Level>, Error> {
    let mut levels = Vec::new();
    for name in text.split(',').map(str::trim) {
        if name.is_empty() {
            return Err(
                Error::configuration(format!("`{text}` is not a list of tiers"))
                    .with_help("write them in one word, such as `l1,l2`"),
            );
        }
        let level: Level = name.parse()?;
        if levels.contains(&level) {
            return Err(Error::configuration(format!(
                "`{text}` lists {level} twice"
            )));
        }
        levels.push(level);
    }
    // In look-up order, whatever order they are named in.
    levels.sort_unstable();
    Ok(levels)
}

#[cfg(feature = "toml")]
pub(crate) mod file {
    //! ```toml
    //! [policies]
    //! orders = "90s"
    //!
    //! [functions."users::by_id"]
    //! ttl = { l1 = "10s", l2 = "1h" }
    //! tiers = "l1,l2"
    //! ```

    use std::collections::BTreeMap;
    use std::path::Path;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        policies: BTreeMap<String, Times>,
        #[serde(default)]
        functions: BTreeMap<String, Function>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Function {
        ttl: Option<Times>,
        policy: Option<String>,
        tiers: Option<Tiers>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged, expecting = "tiers in one text, such as \"l1,l2\"")]
    enum Tiers {
        Text(String),
    }

    #[derive(Debug, Deserialize)]
    #[serde(
        untagged,
        expecting = "a duration such as \"30s\", or one for each tier: { l1 = \"10s\", l2 = \"1h\" }"
    )]
    enum Times {
        Everywhere(String),
        Each(BTreeMap<String, String>),
    }

    impl Times {
        fn ttl(&self) -> Result<Ttl, Error> {
            match self {
                Self::Everywhere(text) => Ok(duration(text)?.into()),
                Self::Each(times) => {
                    let mut each = Vec::new();
                    for (level, text) in times {
                        each.push((level.parse()?, duration(text)?));
                    }
                    Ok(Ttl::each(&each))
                }
            }
        }
    }

    /// What a file says: policies, and functions; and what of it cannot be read, with the place of that.
    #[derive(Debug, Default)]
    pub(crate) struct Said {
        pub(crate) policies: Vec<(String, Ttl)>,
        pub(crate) functions: Vec<(String, Override)>,
        pub(crate) problems: Vec<Error>,
    }

    /// Reads a file, which errors call `source`.
    pub(crate) fn read(path: &Path, source: &str) -> Said {
        let mut said = Said::default();
        let wrong = |error: &dyn std::fmt::Display| {
            Error::configuration(format!("{source} cannot be read: {error}"))
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(&error));
        let file = text.and_then(|text| toml::from_str(&text).map_err(|error| wrong(&error)));
        let file: File = file.unwrap_or_else(|error| {
            said.problems.push(error);
            File::default()
        });
        for (name, times) in file.policies {
            match times.ttl() {
                Ok(ttl) => said.policies.push((name, ttl)),
                Err(error) => said.problems.push(
                    error
                        .in_context(format!("policy `{name}`"))
                        .from_setting(source),
                ),
            }
        }
        for (name, function) in file.functions {
            match function.said(source) {
                Ok(of_function) => said.functions.push((name, of_function)),
                Err(error) => said
                    .problems
                    .push(error.for_function(format!("`{name}`")).from_setting(source)),
            }
        }
        said
    }

    impl Function {
        fn said(self, source: &str) -> Result<Override, Error> {
            let time = match (self.ttl, self.policy) {
                (Some(_), Some(_)) => {
                    return Err(Error::configuration(
                        "`ttl` and `policy` are both set: only one of them can be",
                    ));
                }
                (Some(times), None) => Some(Time::Ttl(times.ttl()?)),
                (None, policy) => policy.map(Time::Policy),
            };
            let tiers = self.tiers.map(|Tiers::Text(text)| levels(&text));
            let tiers = tiers.transpose()?;
            if time.is_none() && tiers.is_none() {
                return Err(Error::configuration("the function has no setting")
                    .with_help("set `ttl`, `policy` or `tiers`"));
            }
            Ok(Override {
                time,
                tiers,
                source: source.to_owned(),
            })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_in_one_line_is_read() {
        let read = parse("a::b ttl=30s tiers=l2,l1; c policy=short;", "here").unwrap();
        let expected = [
            (
                "a::b".to_owned(),
                Override {
                    time: Some(Time::Ttl(Duration::from_secs(30).into())),
                    tiers: Some(vec![Level::L1, Level::L2]),
                    source: "here".to_owned(),
                },
            ),
            (
                "c".to_owned(),
                Override {
                    time: Some(Time::Policy("short".to_owned())),
                    tiers: None,
                    source: "here".to_owned(),
                },
            ),
        ];
        assert_eq!(read, expected);
        for (wrong, says) in [
            ("a", "changes nothing of `a`"),
            ("a ttl=soon", "`soon` is not a duration"),
            ("a tiers=l1,l1", "lists l1 twice"),
            ("a tiers=x", "`x`"),
            ("a ttl=1s policy=short", "twice"),
            ("a age=1s", "unknown option `age`"),
            ("a ttl=1s; a tiers=l1", "listed twice"),
        ] {
            let error = parse(wrong, "here").unwrap_err().to_string();
            assert!(error.contains(says), "{says:?} is not in {error:?}");
        }
    }
}
