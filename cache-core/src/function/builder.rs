//! Builder of functions without the attribute.

mod results;
mod times;

use std::borrow::Cow;
use std::panic::Location;
use std::sync::Arc;
use std::time::Duration;

use crate::call::CacheValue;
use crate::codec::{SharedValue, ValueType};
use crate::error::Error;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::function::built::Function;
use crate::function::definition::Definition;
use crate::function::options::{Consistency, SingleFlight, WhenIsolated};
use crate::function::registry::{ReservedName, Scope};
use crate::function::slot::FunctionSlot;
use crate::function::tags::TagTemplates;
use crate::function::ttl::Ttl;
use crate::level::{Level, Levels};
use crate::outcome::NotShared;
use crate::runtime::CacheRuntime;
use crate::tag::Tag;

impl<V: CacheValue> Function<V> {
    /// Begins to build a function whose values can go to every tier.
    #[track_caller]
    pub fn builder(name: impl Into<Cow<'static, str>>) -> FunctionBuilder<V>
    where
        V: SharedValue,
    {
        FunctionBuilder::new(name.into(), ValueType::shared(), None)
    }

    /// Begins to build a function whose values stay in memory. The value type needs no serde.
    #[track_caller]
    pub fn in_memory(name: impl Into<Cow<'static, str>>) -> FunctionBuilder<V> {
        FunctionBuilder::new(name.into(), ValueType::memory_only(), Some(vec![Level::L1]))
    }
}

/// Builds a [`Function`]. Its methods have the names of the attribute's options.
#[derive(Debug)]
#[must_use = "a function is made by `build`"]
pub struct FunctionBuilder<V, S = NotShared> {
    /// The description so far. The ttl and the tiers are separate until they are checked.
    definition: Definition,
    ttl: Option<Ttl>,
    tiers: Option<Vec<Level>>,
    value_type: ValueType<V>,
    cache_if: Option<fn(&V) -> bool>,
    ttl_from: Option<fn(&V) -> Duration>,
    tags: Result<TagTemplates, Error>,
    tags_of: Option<fn(&V) -> Vec<Tag>>,
    /// These two are functions over the error type, and are in `share`.
    has_stale_if: bool,
    has_error_if: bool,
    share: S,
}

impl<V: CacheValue> FunctionBuilder<V> {
    #[track_caller]
    fn new(name: Cow<'static, str>, value_type: ValueType<V>, tiers: Option<Vec<Level>>) -> Self {
        let place = Location::caller();
        Self {
            definition: Definition {
                name,
                file: place.file(),
                line: place.line(),
                is_named: true,
                ..Definition::DEFAULT
            },
            ttl: None,
            tiers,
            value_type,
            cache_if: None,
            ttl_from: None,
            tags: Ok(TagTemplates::NONE),
            tags_of: None,
            has_stale_if: false,
            has_error_if: false,
            share: NotShared,
        }
    }
}

impl<V: CacheValue, S> FunctionBuilder<V, S> {
    /// Sets the time to live of the values: a `Duration`, or one for each tier. Required.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = Some(ttl.into());
        self
    }

    /// Sets the tiers that the function uses, in any order, each once. Default: all tiers of the
    /// runtime.
    pub fn tiers(mut self, tiers: impl IntoIterator<Item = Level>) -> Self {
        self.tiers = Some(tiers.into_iter().collect());
        self
    }

    /// Sets the version of the values. Records of another version are not read. Default: 1.
    pub fn version(mut self, version: u32) -> Self {
        self.definition.version = version;
        self
    }

    /// Sets the codec that writes records. Default: the runtime's.
    pub fn codec(mut self, codec: impl Into<Cow<'static, str>>) -> Self {
        self.definition.codec = Some(codec.into());
        self
    }

    /// Sets the names of the arguments, in their order, for tools that show the function. They have
    /// no effect on keys. Default: none.
    pub fn argument_names(mut self, names: &'static [&'static str]) -> Self {
        self.definition.arguments = names;
        self
    }

    /// Sets which values are stored. Default: all.
    pub fn cache_if(mut self, cache_if: fn(&V) -> bool) -> Self {
        self.cache_if = Some(cache_if);
        self
    }

    /// Sets the behavior while this instance cannot learn of invalidations by other instances.
    /// Default: the runtime's.
    pub fn when_isolated(mut self, when_isolated: WhenIsolated) -> Self {
        self.definition.when_isolated = Some(when_isolated);
        self
    }

    /// Sets which callers share one load of a key. Default: [`SingleFlight::Cluster`].
    pub fn single_flight(mut self, single_flight: SingleFlight) -> Self {
        self.definition.single_flight = single_flight;
        self
    }

    /// Sets how stale a returned value may be. Default: [`Consistency::Bounded`].
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.definition.consistency = consistency;
        self
    }

    /// Sets the function that returns the size of a value in memory, in bytes. It is used if memory
    /// is bounded by bytes. Use `V::weigh` for a type that implements [`Weigh`](crate::Weigh).
    /// Default: the size of the type and, if the value can be serialized, the size of what serde
    /// finds behind its pointers.
    pub fn weigh(mut self, weigh: fn(&V) -> usize) -> Self {
        self.value_type = self.value_type.weigh(weigh);
        self
    }

    /// Makes the function.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration) if the name has characters other than letters,
    /// digits, `_-./` and `::`, if the ttl is missing or cannot be used, if the tiers are empty, or
    /// if a template of a tag cannot be read.
    /// [`DuplicateFunction`](ErrorKind::DuplicateFunction), with both places, if another function
    /// has the name, or if a handle of a dropped function of that name still exists. If a runtime
    /// is installed, also the errors of [`install`](crate::RuntimeBuilder::install) about the
    /// function.
    pub fn build(mut self) -> Result<Function<V, S>, Error> {
        let definition = &mut self.definition;
        definition.tags = self
            .tags
            .map_err(|error| error.for_function(&*definition))?;
        definition
            .describe(self.ttl, self.tiers)
            .and_then(|()| definition.check_value_type(self.value_type.records.is_some()))
            .and_then(|()| {
                definition
                    .times
                    .check_rules(self.has_stale_if, self.has_error_if)
            })
            .map_err(|error| error.for_function(&*definition))?;
        CacheRuntime::check(definition)?;
        let scope = match CacheRuntime::is_in_scope() {
            true => Scope::Task,
            false => Scope::Process,
        };
        let name = ReservedName::reserve(definition, scope)?;
        Ok(Function {
            slot: Arc::new(FunctionSlot::built(self.definition, name)),
            value_type: self.value_type,
            cache_if: self.cache_if,
            ttl_from: self.ttl_from,
            tags_of: self.tags_of,
            share: self.share,
        })
    }
}

impl Definition {
    /// Checks the name, and sets the ttl and the tiers.
    fn describe(&mut self, ttl: Option<Ttl>, tiers: Option<Vec<Level>>) -> Result<(), Error> {
        check_name(&self.name)?;
        self.ttl = ttl.ok_or_else(|| Error::configuration("ttl is missing"))?;
        self.ttl.check()?;
        let tiers = tiers.map(Levels::distinct).transpose();
        self.tiers = tiers
            .map_err(|level| Error::configuration(format!("{level} is listed twice in `tiers`")))?;
        if self.tiers.is_some_and(Levels::is_empty) {
            return Err(Error::configuration("`tiers` is empty"));
        }
        self.check_ttl_tiers()?;
        self.check_times(self.tiers.unwrap_or_else(|| Level::all().collect()))
    }

    /// Checks that the tiers fit the value type, and that the options fit the tiers.
    fn check_value_type(&self, is_serializable: bool) -> Result<(), Error> {
        if self.has_records() {
            return match is_serializable {
                true => Ok(()),
                false => Err(Error::configuration(
                    "a function begun by `in_memory` has a tier below memory, which needs values \
                     that can be written",
                )
                .with_help("begin by `builder`")),
            };
        }
        let needs_records = self.codec.is_some()
            || self.when_isolated.is_some()
            || self.single_flight != SingleFlight::default()
            || self.consistency != Consistency::default();
        match needs_records {
            false => Ok(()),
            true => Err(Error::configuration(
                "`codec`, `when_isolated`, `single_flight` and `consistency` need a tier below \
                 memory, and the function has none",
            )),
        }
    }
}

/// Checks a name by the rules of the attribute. Names are part of keys in shared tiers, and of
/// overrides.
fn check_name(name: &str) -> Result<(), Error> {
    let is_allowed = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
    let has_single_colon = name.replace("::", "").contains(':');
    if !name.is_empty() && name.chars().all(is_allowed) && !has_single_colon {
        return Ok(());
    }
    Err(
        Error::configuration("name of a function has characters that are not allowed")
            .with_help("use letters, digits, `_`, `-`, `.`, `/` and `::`, such as `users::by_id`"),
    )
}
