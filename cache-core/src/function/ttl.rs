//! Times to live, and policies: times to live that have a name.

use std::borrow::Cow;
use std::time::Duration;

use crate::error::Error;
use crate::level::Level;

/// Maximum time to live. A longer one is usually a mistaken unit, and a value that stays right for
/// more than a year belongs in a store.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// Time to live of the values of a function: one for all tiers, or one for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(Times);

/// One time for each level; `None` for a level without a time.
type TimesByLevel = [Option<Duration>; Level::COUNT];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    /// Times that were written for one function, which must use every tier that is named.
    Own(TimesByLevel),
    /// Times that were written for several functions, or for more tiers than an override left. The
    /// function need not use every tier that is named.
    Shared(TimesByLevel),
    /// The times that the runtime has under this name.
    Policy(&'static str),
}

/// Policies that every runtime has. The program and operators can replace them.
const BUILT_IN: [(&str, Duration); 4] = [
    ("real_time", Duration::from_secs(10)),
    ("short", Duration::from_secs(5 * 60)),
    ("medium", Duration::from_secs(60 * 60)),
    ("long", Duration::from_secs(3 * 60 * 60)),
];

/// Times to live by name. A vector, because there are only a few.
#[derive(Clone, Debug)]
pub(crate) struct Policies(Vec<(Cow<'static, str>, Ttl)>);

impl Policies {
    pub(crate) fn built_in() -> Self {
        let all = BUILT_IN.map(|(name, ttl)| (Cow::Borrowed(name), Ttl::everywhere(ttl)));
        Self(all.into())
    }

    /// Adds a policy, or replaces the one of that name.
    pub(crate) fn set(&mut self, name: Cow<'static, str>, ttl: Ttl) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = ttl,
            None => self.0.push((name, ttl)),
        }
    }

    /// Returns the times of a policy, which many functions share.
    ///
    /// # Errors
    /// No policy has that name.
    pub(crate) fn find(&self, name: &str) -> Result<Ttl, Error> {
        let known = self.0.iter().find(|(known, _)| known == name);
        known.map(|(_, ttl)| ttl.shared()).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(name, _)| &**name).collect();
            Error::configuration(format!(
                "unknown policy `{name}`: the policies are {}",
                names.join(", ")
            ))
        })
    }
}

impl Ttl {
    /// Uses one time to live in every tier.
    #[must_use]
    pub const fn everywhere(ttl: Duration) -> Self {
        Self(Times::Own([Some(ttl); Level::COUNT]))
    }

    /// Uses a time to live for each tier. A tier that is not named has none, and `install` refuses
    /// an annotated function that uses such a tier.
    ///
    /// # Panics
    /// A tier is named twice.
    #[must_use]
    pub const fn each(ttls: &[(Level, Duration)]) -> Self {
        let mut each = [None; Level::COUNT];
        let mut at = 0;
        while at < ttls.len() {
            let (level, ttl) = ttls[at];
            let this = &mut each[level.number() as usize - 1];
            assert!(this.is_none(), "a tier is named twice");
            *this = Some(ttl);
            at += 1;
        }
        Self(Times::Own(each))
    }

    /// Uses the time to live that the runtime has under this name: `real_time` (10 s), `short`
    /// (5 min), `medium` (1 h), `long` (3 h), or a name that was given to
    /// [`RuntimeBuilder::policy`](crate::RuntimeBuilder::policy). `install` refuses a function with
    /// an unknown name.
    #[must_use]
    pub const fn policy(name: &'static str) -> Self {
        Self(Times::Policy(name))
    }

    /// Returns the same times for a function that need not use every tier that they name.
    pub(crate) fn shared(self) -> Self {
        match self.0 {
            Times::Own(times) => Self(Times::Shared(times)),
            Times::Shared(_) | Times::Policy(_) => self,
        }
    }

    /// Replaces the name of a policy by its times.
    ///
    /// # Errors
    /// No policy has that name.
    pub(crate) fn resolve(self, policies: &Policies) -> Result<Self, Error> {
        match self.0 {
            Times::Own(_) | Times::Shared(_) => Ok(self),
            Times::Policy(name) => policies.find(name),
        }
    }

    /// Returns the time to live in `level`. A policy that is not [resolved](Self::resolve) has
    /// none.
    pub(crate) fn of(&self, level: Level) -> Option<Duration> {
        self.times()[usize::from(level.number()) - 1]
    }

    /// Returns the levels for which the function itself names a time; none if one time is for all.
    pub(crate) fn own_levels(&self) -> impl Iterator<Item = Level> {
        let times = match self.0 {
            Times::Own(times) if !times.iter().all(Option::is_some) => times,
            Times::Own(_) | Times::Shared(_) | Times::Policy(_) => [None; Level::COUNT],
        };
        Level::all().filter(move |level| times[usize::from(level.number()) - 1].is_some())
    }

    pub(crate) fn is_policy(&self) -> bool {
        matches!(self.0, Times::Policy(_))
    }

    fn times(&self) -> TimesByLevel {
        match self.0 {
            Times::Own(times) | Times::Shared(times) => times,
            Times::Policy(_) => [None; Level::COUNT],
        }
    }

    /// Checks the times. Those of a policy are checked when the policy is added to the runtime.
    ///
    /// # Errors
    /// A time is zero or longer than a year, or there is none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_policy() {
            return Ok(());
        }
        if self.times().iter().all(Option::is_none) {
            return Err(Error::configuration("ttl names no tier"));
        }
        for ttl in self.times().iter().flatten() {
            if ttl.is_zero() {
                return Err(Error::configuration("ttl is zero: no call could ever hit"));
            }
            if *ttl > LONGEST_TTL {
                return Err(Error::configuration(format!(
                    "ttl is {}: the maximum is 365 days",
                    humantime::format_duration(*ttl)
                )));
            }
        }
        Ok(())
    }
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::everywhere(ttl)
    }
}

impl<const N: usize> From<[(Level, Duration); N]> for Ttl {
    fn from(ttls: [(Level, Duration); N]) -> Self {
        Self::each(&ttls)
    }
}

/// Parses a duration such as `1h 30m`.
///
/// # Errors
/// The text is not a duration.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, Error> {
    humantime::parse_duration(text).map_err(|error| {
        Error::configuration(format!("`{text}` is not a duration such as `30s`: {error}"))
    })
}
