//! Overrides in one line, as an environment variable has them:
//! `users::by_id ttl=30s tiers=l1,l2; prices::of policy=short`.

use super::{Override, TtlOverride, option_names};
use crate::error::Error;
use crate::function::times::option::TimeOption;
use crate::function::ttl::parse_duration;
use crate::setting::Setting;

/// Parses overrides from one line. Errors about their settings name `origin`.
///
/// # Errors
/// A part of the line cannot be parsed, or has no effect. The error names that part.
pub(crate) fn parse(text: &str, origin: &str) -> Result<Vec<(String, Override)>, Error> {
    let mut parsed: Vec<(String, Override)> = Vec::new();
    for part in text.split(';').map(str::trim) {
        let mut words = part.split_whitespace();
        let Some(name) = words.next() else {
            continue;
        };
        let mut settings = Override::default();
        for word in words {
            let (option, value) = word.split_once('=').unwrap_or((word, ""));
            set(&mut settings, option, value, origin)
                .map_err(|error| error.in_context(format!("`{part}`")))?;
        }
        if settings.is_empty() {
            let problem = format!("`{part}` changes nothing of `{name}`");
            return Err(Error::configuration(problem).with_help(
                "write a function's name with an option, such as `ttl=30s`, `policy=short`, \
                 `tiers=l1,l2` or `stale_if_error=1h`",
            ));
        }
        if parsed.iter().any(|(known, _)| known == name) {
            return Err(Error::configuration(format!(
                "`{part}`: `{name}` is listed twice"
            )));
        }
        parsed.push((name.to_owned(), settings));
    }
    Ok(parsed)
}

/// Sets one option of an override.
fn set(settings: &mut Override, option: &str, value: &str, origin: &str) -> Result<(), Error> {
    let ttl = match option {
        "ttl" if value.starts_with('{') => {
            let problem = format!("`{option}={value}` has a time for each tier");
            return Err(Error::configuration(problem)
                .with_help("write one time for all tiers, or use a functions file"));
        }
        "ttl" => TtlOverride::Ttl(parse_duration(value)?.into()),
        "policy" => TtlOverride::Policy(value.to_owned()),
        "tiers" => {
            let tiers = Setting::from_origin(value.parse()?, origin);
            return match settings.tiers.replace(tiers) {
                None => Ok(()),
                Some(_) => Err(Error::configuration("`tiers` is set twice")),
            };
        }
        _ => {
            if let Some(option) = TimeOption::named(option) {
                return settings.times.set(option, value, origin);
            }
            let problem = format!("unknown option `{option}`");
            return Err(Error::configuration(problem).with_help(format!(
                "the options are {}; write a time in one word (`1h30m`) and separate functions by \
                 `;`",
                option_names()
            )));
        }
    };
    match settings.ttl.replace(Setting::from_origin(ttl, origin)) {
        None => Ok(()),
        Some(_) => Err(Error::configuration("the ttl is set twice")),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::level::{Level, Levels};

    #[test]
    fn line_with_several_functions_is_parsed() {
        let parsed = parse("a::b ttl=30s tiers=l2,l1; c policy=short;", "here").unwrap();
        let expected = [
            (
                "a::b".to_owned(),
                Override {
                    ttl: Some(Setting::from_origin(
                        TtlOverride::Ttl(Duration::from_secs(30).into()),
                        "here",
                    )),
                    tiers: Some(Setting::from_origin(
                        Levels::of(&[Level::L1, Level::L2]),
                        "here",
                    )),
                    ..Override::default()
                },
            ),
            (
                "c".to_owned(),
                Override {
                    ttl: Some(Setting::from_origin(
                        TtlOverride::Policy("short".to_owned()),
                        "here",
                    )),
                    ..Override::default()
                },
            ),
        ];
        assert_eq!(parsed, expected);
    }

    #[test]
    fn line_that_cannot_be_parsed_is_an_error_that_names_the_part() {
        for (wrong, expected) in [
            ("a", "changes nothing of `a`"),
            ("a ttl=soon", "`soon` is not a duration"),
            ("a ttl={l1=1s}", "has a time for each tier"),
            ("a tiers=l1,l1", "lists l1 twice"),
            ("a tiers=l1, l2", "write them in one word"),
            ("a tiers=x", "`x`"),
            ("a tiers=l1 tiers=l2", "`tiers` is set twice"),
            ("a ttl=1s policy=short", "the ttl is set twice"),
            ("a age=1s", "unknown option `age`"),
            (
                "a age=1s",
                "the options are `ttl`, `policy`, `tiers`, `stale_while_revalidate`, \
                 `stale_if_error`, `soft_timeout`, `hard_timeout`, `load_limit`, \
                 `refresh_ahead`, `jitter`, `none_ttl`, `error_ttl`;",
            ),
            (
                "a stale_if_error=soon",
                "`stale_if_error`: `soon` is not a duration",
            ),
            ("a soft_timeout", "`soft_timeout`: `` is not a duration"),
            ("a jitter=10", "`jitter`: `10` is not a share such as `10%`"),
            ("a jitter=300%", "`300%` is not a share"),
            (
                "a none_ttl=1s none_ttl=2s",
                "`a none_ttl=1s none_ttl=2s`: `none_ttl` is set twice",
            ),
            ("a ttl=1s; a tiers=l1", "listed twice"),
        ] {
            let error = parse(wrong, "here").unwrap_err().to_string();
            assert!(error.contains(expected), "{expected:?} is not in {error:?}");
        }
    }
}
