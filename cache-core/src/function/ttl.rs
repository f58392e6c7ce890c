//! What a function asks of the cache: how long, where, under which version.

use std::borrow::Cow;
use std::str::FromStr;
use std::time::Duration;

use crate::error::Error;
use crate::key::Piece;
use crate::level::Level;

/// Longest time to live. A value that is right for more than a year belongs in a store, and a longer one is far more
/// often a mistaken unit.
pub(crate) const LONGEST_TTL: Duration = Duration::from_secs(365 * 24 * 60 * 60);

/// How long a value is fresh: the same in every tier, or each its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ttl(Times);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Times {
    Each([Option<Duration>; Level::COUNT]),
    /// As the runtime knows them under this name.
    Policy(&'static str),
}

/// The policies that every runtime has, unless it is given others under these names.
const BUILT_IN: [(&str, Duration); 4] = [
    ("real_time", Duration::from_secs(10)),
    ("short", Duration::from_secs(5 * 60)),
    ("medium", Duration::from_secs(60 * 60)),
    ("long", Duration::from_secs(3 * 60 * 60)),
];

/// Times to live by name. A handful.
#[derive(Clone, Debug)]
pub(crate) struct Policies(Vec<(Cow<'static, str>, Ttl)>);

impl Policies {
    pub(crate) fn built_in() -> Self {
        let all = BUILT_IN.map(|(name, ttl)| (Cow::Borrowed(name), Ttl::everywhere(ttl)));
        Self(all.into())
    }

    pub(crate) fn set(&mut self, name: Cow<'static, str>, ttl: Ttl) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some(known) => known.1 = ttl,
            None => self.0.push((name, ttl)),
        }
    }

    pub(crate) fn find(&self, name: &str) -> Result<Ttl, Error> {
        let known = self.0.iter().find(|(known, _)| known == name);
        known.map(|(_, ttl)| *ttl).ok_or_else(|| {
            let names: Vec<_> = self.0.iter().map(|(name, _)| &**name).collect();
            Error::configuration(format!(
                "unknown policy `{name}`: the policies are {}",
                names.join(", ")
            ))
        })
    }
}

impl Ttl {
    /// The same in every tier.
    #[must_use]
    pub const fn everywhere(ttl: Duration) -> Self {
        Self(Times::Each([Some(ttl); Level::COUNT]))
    }

    /// Each tier its own; a tier that is not named has none, and an annotated function that uses it is refused by
    /// `install`.
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
        Self(Times::Each(each))
    }

    /// As the runtime knows it under this name: `real_time` (10 s), `short` (5 min), `medium` (1 h), `long` (3 h), or one that was
    /// given to [`RuntimeBuilder::policy`](crate::RuntimeBuilder::policy). `install` refuses a function with a
    /// name that is not known.
    #[must_use]
    pub const fn policy(name: &'static str) -> Self {
        Self(Times::Policy(name))
    }

    /// The times themselves.
    ///
    /// # Errors
    /// No policy has that name.
    pub(crate) fn resolve(self, policies: &Policies) -> Result<Self, Error> {
        match self.0 {
            Times::Each(_) => Ok(self),
            Times::Policy(name) => policies.find(name),
        }
    }

    /// The time to live in `level`; of a name that was not [resolved](Self::resolve), none.
    pub(crate) fn of(&self, level: Level) -> Option<Duration> {
        self.times()[usize::from(level.number()) - 1]
    }

    /// The tiers that were given a time of their own; none where one is for all.
    pub(crate) fn named(&self) -> impl Iterator<Item = Level> {
        let times = self.times();
        let is_for_all = times.iter().all(Option::is_some);
        Level::all()
            .filter(move |level| !is_for_all && times[usize::from(level.number()) - 1].is_some())
    }

    pub(crate) fn is_policy(&self) -> bool {
        matches!(self.0, Times::Policy(_))
    }

    fn times(&self) -> [Option<Duration>; Level::COUNT] {
        match self.0 {
            Times::Each(each) => each,
            Times::Policy(_) => [None; Level::COUNT],
        }
    }

    /// # Errors
    /// When a time is zero or longer than a year, or there is none.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.is_policy() {
            // Whoever resolves it checks what it stands for.
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

/// What a function with a shared tier does while this instance cannot know what others have invalidated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum WhenIsolated {
    /// Answers from memory until the values' time is over, where the shared tier cannot be asked: an outage of the cache does
    /// not become one of the database. The default.
    #[default]
    Serve,
    /// Runs the body: nothing that was invalidated elsewhere is answered past the bound, whatever is broken.
    Load,
}

impl FromStr for WhenIsolated {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text {
            "serve" => Ok(Self::Serve),
            "load" => Ok(Self::Load),
            _ => Err(Error::configuration(format!(
                "unknown value `{text}`: the values are `serve` and `load`"
            ))),
        }
    }
}

/// Who waits while a value is loaded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum SingleFlight {
    /// Callers in every process: one load of a key at a time in the whole cluster. The default.
    #[default]
    Cluster,
    /// Callers in one process: each process may load the key once.
    Process,
}

/// How old an answer may be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "these are all the choices")]
pub enum Consistency {
    /// Memory answers while this instance is coherent: what others invalidated is gone within the bound. The default.
    #[default]
    Bounded,
    /// Every call asks the shared tier: what anybody invalidated is gone when the invalidation has returned. One round trip
    /// for each call; where memory has the same record, its value is not sent.
    Strong,
}

/// All that a function asks, as its attribute or its builder says it.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    pub(crate) ttl: Ttl,
    /// In look-up order; `None` is every tier that the runtime has.
    pub(crate) tiers: Option<Cow<'static, [Level]>>,
    pub(crate) version: u32,
    /// `None` is the runtime's.
    pub(crate) codec: Option<Cow<'static, str>>,
    /// How shared tiers show the arguments; empty shows them all.
    pub(crate) template: &'static [Piece],
    pub(crate) coherence: CoherencePolicy,
}

/// What a function asks of the agreement with other instances.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(
    clippy::exhaustive_structs,
    reason = "an expansion writes every field; core and macros have one version"
)]
pub struct CoherencePolicy {
    /// What it does while it is cut off from the others; `None` is the runtime's.
    pub when_isolated: Option<WhenIsolated>,
    /// Who waits while a value is loaded.
    pub single_flight: SingleFlight,
    /// How old an answer may be.
    pub consistency: Consistency,
}
