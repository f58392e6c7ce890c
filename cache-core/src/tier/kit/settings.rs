//! Checks of the settings of a tier, with errors that are worded in one way.

use std::time::Duration;

use humantime::format_duration;

use crate::error::Error;

/// The values that a setting may have if it is a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DurationRange {
    shortest: Duration,
    longest: Duration,
}

impl DurationRange {
    /// Time limits of operations: more than zero, and at most five minutes. Callers wait that long
    /// for a store that does not respond.
    pub const TIME_LIMIT: Self = Self::up_to(Duration::from_secs(5 * 60));

    /// Intervals, such as the time between two sweeps: more than zero. `Duration::MAX` means never.
    pub const INTERVAL: Self = Self::up_to(Duration::MAX);

    /// Staleness bounds of shared tiers: 50 ms to one minute. With a shorter one, a pause of the
    /// process would often leave the instance isolated.
    pub const STALENESS_BOUND: Self = Self::new(Duration::from_millis(50), Duration::from_secs(60));

    /// Creates the range from `shortest` to `longest`, both included.
    #[must_use]
    pub const fn new(shortest: Duration, longest: Duration) -> Self {
        Self { shortest, longest }
    }

    /// Creates the range of all times up to `longest`, except zero.
    #[must_use]
    pub const fn up_to(longest: Duration) -> Self {
        Self::new(Duration::from_nanos(1), longest)
    }

    /// Checks a value. `setting` names the setting and its owner: "time limit of Redis".
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if the value is outside of the range.
    pub fn check(&self, setting: &str, value: Duration) -> Result<(), Error> {
        if (self.shortest..=self.longest).contains(&value) {
            return Ok(());
        }
        let longest = format_duration(self.longest);
        let allowed = match (self.shortest.as_nanos(), self.longest) {
            (1, Duration::MAX) => "more than zero".to_owned(),
            (1, _) => format!("more than zero and at most {longest}"),
            _ => format!("from {} to {longest}", format_duration(self.shortest)),
        };
        let value = format_duration(value);
        Err(Error::configuration(format!(
            "{setting} is {value}: it must be {allowed}"
        )))
    }
}

/// The values that a setting may have if it is a number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizeRange {
    smallest: u64,
    largest: u64,
}

impl SizeRange {
    /// Creates the range from `smallest` to `largest` bytes, both included.
    #[must_use]
    pub const fn new(smallest: u64, largest: u64) -> Self {
        Self { smallest, largest }
    }

    /// Checks a value. `setting` names the setting and its owner: "maximum record size of Redis".
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if the value is outside of the range.
    pub fn check(&self, setting: &str, bytes: u64) -> Result<(), Error> {
        let Self { smallest, largest } = *self;
        if (smallest..=largest).contains(&bytes) {
            return Ok(());
        }
        let allowed = match largest {
            u64::MAX => format!("at least {smallest}"),
            _ => format!("from {smallest} to {largest}"),
        };
        Err(Error::configuration(format!(
            "{setting} is {bytes} bytes: it must be {allowed}"
        )))
    }
}

/// The names that a setting may have, such as a namespace.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "tiers of other crates declare rules as constants"
)]
pub struct NameRule {
    /// The greatest length in bytes. A name is never empty.
    pub max_bytes: usize,
    /// Returns whether a name may contain this character.
    pub is_allowed: fn(char) -> bool,
    /// The description of valid names: "letters, digits and `-`".
    pub allowed: &'static str,
}

impl NameRule {
    /// Checks a name. `setting` names the setting, and `owner` the tier that has it.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if the rule forbids the name.
    pub fn check(&self, setting: &str, owner: &str, name: &str) -> Result<(), Error> {
        let Self {
            max_bytes,
            is_allowed,
            allowed,
        } = self;
        if !name.is_empty() && name.len() <= *max_bytes && name.chars().all(is_allowed) {
            return Ok(());
        }
        let length = match *max_bytes {
            usize::MAX => "at least 1 byte".to_owned(),
            most => format!("1 to {most} bytes"),
        };
        Err(Error::configuration(format!(
            "{setting} `{name}` of {owner} is not valid: it must have {length} of {allowed}"
        )))
    }
}

/// Returns a URL without its user, its password, its query and its fragment, each of which may hold
/// a secret, for logs and errors. Shows no more than the scheme if it is not clear where a secret
/// ends.
#[must_use]
pub fn redact_url(url: &str) -> String {
    let start = url.find("://").map_or(0, |scheme| scheme + 3);
    let (scheme, rest) = url.split_at(start);
    // A password may have any character if it is not escaped, so the credentials end at the last
    // `@`. They are cut off before the query is: its `?` may be part of the password.
    let (credentials, rest) = match rest.rsplit_once('@') {
        Some((credentials, rest)) => (Some(credentials), rest),
        None => (None, rest),
    };
    let host = rest.split(['?', '#']).next().unwrap_or_default();
    // This last `@` may also be part of a value in the query, and what follows it a secret.
    let has_value = |credentials: &str| {
        let query = credentials.split_once(['?', '#']);
        query.is_some_and(|(_, query)| query.contains('='))
    };
    match credentials {
        Some(credentials) if has_value(credentials) => format!("{scheme}***"),
        Some(_) => format!("{scheme}***@{host}"),
        None => format!("{scheme}{host}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAME: NameRule = NameRule {
        max_bytes: 4,
        is_allowed: |c| c.is_ascii_lowercase(),
        allowed: "lowercase letters",
    };

    fn problem(result: Result<(), Error>) -> String {
        result
            .expect_err("a value outside of the range")
            .to_string()
    }

    #[test]
    fn values_inside_a_range_pass_and_errors_name_the_setting_the_value_and_the_range() {
        let time = DurationRange::TIME_LIMIT;
        let limit = |value| time.check("time limit of Redis", value);
        assert!(limit(Duration::from_nanos(1)).is_ok() && limit(Duration::from_secs(300)).is_ok());
        assert_eq!(
            problem(limit(Duration::ZERO)),
            "time limit of Redis is 0s: it must be more than zero and at most 5m"
        );
        assert_eq!(
            problem(DurationRange::INTERVAL.check("sweep interval", Duration::ZERO)),
            "sweep interval is 0s: it must be more than zero"
        );
        assert_eq!(
            problem(DurationRange::STALENESS_BOUND.check("bound", Duration::from_secs(61))),
            "bound is 1m 1s: it must be from 50ms to 1m"
        );
        let size = SizeRange::new(1, 8);
        assert!(size.check("size", 1).is_ok() && size.check("size", 8).is_ok());
        assert_eq!(
            problem(size.check("size", 9)),
            "size is 9 bytes: it must be from 1 to 8"
        );
        assert_eq!(
            problem(SizeRange::new(1, u64::MAX).check("size", 0)),
            "size is 0 bytes: it must be at least 1"
        );
    }

    #[test]
    fn name_that_is_empty_or_too_long_or_has_another_character_is_refused() {
        let check = |name| NAME.check("namespace", "Redis", name);
        assert!(check("abcd").is_ok());
        for wrong in ["", "abcde", "aB"] {
            assert_eq!(
                problem(check(wrong)),
                format!(
                    "namespace `{wrong}` of Redis is not valid: it must have 1 to 4 bytes of lowercase letters"
                )
            );
        }
    }

    #[test]
    fn redacted_url_has_no_credentials_and_no_query() {
        for (url, redacted) in [
            ("redis://host:1", "redis://host:1"),
            ("redis://user:p@ss@host:1/0?pass=x", "redis://***@host:1/0"),
            ("user:secret@host", "***@host"),
            ("host?secret", "host"),
            (
                "memcached://user:pa?ss@host:11211",
                "memcached://***@host:11211",
            ),
            ("redis://:p@ss/w?rd#x@host/0", "redis://***@host/0"),
            ("redis://user:pa?ss@host/0?pass=x", "redis://***@host/0"),
            ("redis://user:pass@host/0?pass=x@y", "redis://***"),
            ("redis://host/0?pass=x@y", "redis://***"),
            ("redis://host/0?pass=x", "redis://host/0"),
            ("redis://host/0#secret", "redis://host/0"),
            (
                "redis+unix:///run/redis.sock?pass=x",
                "redis+unix:///run/redis.sock",
            ),
        ] {
            assert_eq!(redact_url(url), redacted);
        }
    }
}
