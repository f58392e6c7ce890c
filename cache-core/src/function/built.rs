//! Functions without the attribute: by name and policy, at run time.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::panic::Location;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Serialize;

use crate::call::{CacheValue, MemoryLookup, ResultOf, ResultSpec, look_up};
use crate::codec::{SharedValue, ValueType};
use crate::error::{Error, ErrorKind};
use crate::function::definition::Definition;
use crate::function::slot::{FunctionSlot, Origin};
use crate::function::ttl::{CoherencePolicy, Consistency, Policy, SingleFlight, Ttl, WhenIsolated};
use crate::handle::Handle;
use crate::key::Tuple;
use crate::level::Level;
use crate::outcome::{NotShared, Outcome, ShareError, ShareWith};
use crate::runtime::{CacheRuntime, Registered};
use crate::tier::Receipt;

/// A function that is cached without the attribute: a name, a policy, and a value type `V`.
///
/// It belongs to no runtime: each call uses the one that holds where it is made, as annotated functions do.
///
/// ```
/// use std::time::Duration;
///
/// use cache_core::Function;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), cache_core::Error> {
/// let greetings = Function::<String>::builder("greetings").ttl(Duration::from_secs(60)).build()?;
/// let greeting = greetings.get_or_load(("Ada",), || async { "Hello, Ada".to_owned() }).await;
/// assert_eq!(greeting, "Hello, Ada");
///
/// greetings.entry(("Ada",)).invalidate().await?;
/// assert_eq!(greetings.entry(("Ada",)).peek().await, None);
/// # Ok(())
/// # }
/// ```
///
/// `S` says how the error of a failed load reaches the calls that waited for it; see
/// [`share_error`](FunctionBuilder::share_error).
pub struct Function<V, S = NotShared> {
    slot: Arc<FunctionSlot>,
    value_type: ValueType<V>,
    cache_if: Option<fn(&V) -> bool>,
    share: S,
}

impl<V, S: Copy> Clone for Function<V, S> {
    fn clone(&self) -> Self {
        Self {
            slot: Arc::clone(&self.slot),
            value_type: self.value_type,
            cache_if: self.cache_if,
            share: self.share,
        }
    }
}

impl<V, S> fmt::Debug for Function<V, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Function({})", self.slot.definition)
    }
}

impl<V: CacheValue> Function<V> {
    /// Begins to build a function whose values can go to every tier.
    #[track_caller]
    pub fn builder(name: impl Into<Cow<'static, str>>) -> FunctionBuilder<V>
    where
        V: SharedValue,
    {
        FunctionBuilder::new(name.into(), ValueType::shared(), None)
    }

    /// Begins to build a function whose values stay in memory, and need no serde.
    #[track_caller]
    pub fn in_memory(name: impl Into<Cow<'static, str>>) -> FunctionBuilder<V> {
        FunctionBuilder::new(name.into(), ValueType::memory_only(), Some(vec![Level::L1]))
    }
}

impl<V: CacheValue, S: Copy> Function<V, S> {
    /// The value of `arguments`: from a tier, from a load that is under way, or by running `load`, which may return `V`,
    /// `Option<V>`, `Result<V, E>` or `Result<Option<V>, E>`.
    ///
    /// `arguments` is a tuple. When a load fails, the calls that waited for it get its error if the function was built with
    /// [`share_error`](FunctionBuilder::share_error); otherwise each of them runs its own load. To choose at the call, see
    /// [`get_or_load_sharing`](Self::get_or_load_sharing).
    ///
    /// # Errors
    /// Those of `load`. The cache adds none: where it fails, `load` runs.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub async fn get_or_load<R, F>(&self, arguments: impl Serialize, load: impl FnOnce() -> F) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
        S: ShareError<R::Error>,
    {
        self.get_or_load_sharing(arguments, self.share, load).await
    }

    /// The same; `share` says how an error reaches those who wait: [`ShareByClone`](crate::ShareByClone),
    /// [`ShareByText`](crate::ShareByText) or [`ShareWith`].
    ///
    /// # Errors
    /// Those of `load`.
    ///
    /// # Cancel safety
    /// Cancel safe. If the leader is dropped, the first waiter that polls becomes the leader.
    pub async fn get_or_load_sharing<R, F, T>(
        &self,
        arguments: impl Serialize,
        share: T,
        load: impl FnOnce() -> F,
    ) -> R
    where
        R: Outcome<V>,
        F: Future<Output = R>,
        T: ShareError<R::Error>,
    {
        let returned = ResultOf::new(self.spec(share));
        match self
            .slot
            .with_bound(None, |bound| look_up(bound, returned, Tuple(&arguments)))
        {
            MemoryLookup::Hit(result) => result,
            MemoryLookup::Miss(miss) => miss.load(load).await,
        }
    }

    /// The handle of one key. It acts on the runtime in which its methods are polled.
    #[must_use]
    pub fn entry(&self, arguments: impl Serialize) -> Handle<V> {
        let origin = Origin::made(&self.slot);
        Handle::new(origin, self.spec(NotShared), Tuple(&arguments))
    }

    /// Drops every key of the function in every tier, at a cost that does not depend on how many there are.
    ///
    /// # Errors
    /// [`Unavailable`](ErrorKind::Unavailable) when the tier was shut down, or is one that does not queue. Memory is clean all
    /// the same.
    ///
    /// # Cancel safety
    /// Dropped before it was polled it does nothing. Dropped later, a shared tier that queues is told all the same.
    pub async fn invalidate_all(&self) -> Result<Receipt, Error> {
        let bound = self.slot.with_bound(None, Arc::clone);
        bound.invalidate_all().await
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.slot.definition.name
    }

    fn spec<T>(&self, share: T) -> ResultSpec<V, T> {
        ResultSpec {
            value_type: self.value_type,
            keep_if: self.cache_if,
            share,
        }
    }
}

/// Builds a [`Function`]; the methods are the attribute's options.
#[derive(Debug)]
#[must_use = "a function is made by `build`"]
pub struct FunctionBuilder<V, S = NotShared> {
    name: Cow<'static, str>,
    place: &'static Location<'static>,
    ttl: Option<Ttl>,
    tiers: Option<Vec<Level>>,
    version: u32,
    codec: Option<Cow<'static, str>>,
    value_type: ValueType<V>,
    cache_if: Option<fn(&V) -> bool>,
    share: S,
    coherence: CoherencePolicy,
}

impl<V: CacheValue> FunctionBuilder<V> {
    #[track_caller]
    fn new(name: Cow<'static, str>, value_type: ValueType<V>, tiers: Option<Vec<Level>>) -> Self {
        Self {
            name,
            place: Location::caller(),
            ttl: None,
            tiers,
            version: 1,
            codec: None,
            value_type,
            cache_if: None,
            share: NotShared,
            coherence: CoherencePolicy::default(),
        }
    }
}

impl<V: CacheValue, S> FunctionBuilder<V, S> {
    /// How long a value is fresh: a `Duration`, or one for each tier. Required.
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = Some(ttl.into());
        self
    }

    /// Which tiers, in any order, each once. Default: all that the runtime has.
    pub fn tiers(mut self, tiers: impl IntoIterator<Item = Level>) -> Self {
        self.tiers = Some(tiers.into_iter().collect());
        self
    }

    /// A new version orphans the records of the old. Default: 1.
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// How records are encoded. Default: the runtime's.
    pub fn codec(mut self, codec: impl Into<Cow<'static, str>>) -> Self {
        self.codec = Some(codec.into());
        self
    }

    /// Which values to keep. Default: all.
    pub fn cache_if(mut self, cache_if: fn(&V) -> bool) -> Self {
        self.cache_if = Some(cache_if);
        self
    }

    /// Rebuilds the error of a failed load for each call that waited for it: for errors that are not `Clone`. The loads then
    /// return `Result<_, E>`. Default: errors are not shared, and each call that waited runs its own load.
    pub fn share_error<E>(self, rebuild: fn(&E) -> E) -> FunctionBuilder<V, ShareWith<E>>
    where
        E: Send + Sync + 'static,
    {
        FunctionBuilder {
            name: self.name,
            place: self.place,
            ttl: self.ttl,
            tiers: self.tiers,
            version: self.version,
            codec: self.codec,
            value_type: self.value_type,
            cache_if: self.cache_if,
            share: ShareWith(rebuild),
            coherence: self.coherence,
        }
    }

    /// What to do while this instance cannot know what others have invalidated. Default: the runtime's.
    pub fn when_isolated(mut self, when_isolated: WhenIsolated) -> Self {
        self.coherence.when_isolated = Some(when_isolated);
        self
    }

    /// Who waits while a value is loaded. Default: [`SingleFlight::Cluster`].
    pub fn single_flight(mut self, single_flight: SingleFlight) -> Self {
        self.coherence.single_flight = single_flight;
        self
    }

    /// How old an answer may be. Default: [`Consistency::Bounded`].
    pub fn consistency(mut self, consistency: Consistency) -> Self {
        self.coherence.consistency = consistency;
        self
    }

    /// What a value takes in memory, in bytes, where memory is bounded by bytes; `V::weigh` for a type that implements
    /// [`Weigh`](crate::Weigh). Default: its size and, where it can be serialized, what serde finds behind it.
    pub fn weigh(mut self, weigh: fn(&V) -> usize) -> Self {
        self.value_type = self.value_type.weigh(weigh);
        self
    }

    /// Makes the function.
    ///
    /// # Errors
    /// [`Configuration`](ErrorKind::Configuration) when the name has other signs than letters, digits, `_-./` and `::`, there is no ttl, or none that can be used, or no tier;
    /// [`DuplicateFunction`](ErrorKind::DuplicateFunction) when another function has the name, or a handle of one that was dropped is
    /// still there, with the place of both. Where a runtime
    /// is installed, what [`install`](crate::RuntimeBuilder::install) would say of the function.
    pub fn build(self) -> Result<Function<V, S>, Error> {
        let place = format!(
            "`{}` ({}:{})",
            self.name,
            self.place.file(),
            self.place.line()
        );
        let wrong = |problem: String| Err(Error::configuration(problem).for_function(&place));
        // As in attributes: names are part of shared keys, and of what operators write.
        let is_plain = |c: char| c.is_alphanumeric() || "_-./:".contains(c);
        let single_colon = self.name.replace("::", "").contains(':');
        if self.name.is_empty() || !self.name.chars().all(is_plain) || single_colon {
            let error =
                Error::configuration("name of a function has characters that are not allowed");
            return Err(error.for_function(&place).with_help(
                "use letters, digits, `_`, `-`, `.`, `/` and `::`, such as `users::by_id`",
            ));
        }
        let Some(ttl) = self.ttl else {
            return wrong("ttl is missing".to_owned());
        };
        ttl.check().map_err(|error| error.for_function(&place))?;
        let mut tiers = self.tiers;
        if let Some(tiers) = &mut tiers {
            tiers.sort_unstable();
            if let Some(twice) = tiers.windows(2).find(|pair| pair[0] == pair[1]) {
                return wrong(format!("{} is listed twice in `tiers`", twice[0]));
            }
            if tiers.is_empty() {
                return wrong("`tiers` is empty".to_owned());
            }
            if let Some(level) = ttl.named().find(|level| !tiers.contains(level)) {
                return wrong(format!(
                    "ttl has a time for {level}, which `tiers` does not list"
                ));
            }
        }
        let is_memory_alone = tiers.as_deref() == Some(&[Level::L1]);
        if self.value_type.records.is_none() && !is_memory_alone {
            let error = Error::configuration(
                "a function begun by `in_memory` has a tier below memory, which needs values that can be written",
            );
            return Err(error.for_function(&place).with_help("begin by `builder`"));
        }
        if is_memory_alone && (self.codec.is_some() || self.coherence != CoherencePolicy::default())
        {
            return wrong(
                "`codec`, `when_isolated`, `single_flight` and `consistency` need a tier below memory, and the function has none"
                    .to_owned(),
            );
        }
        let definition = Definition {
            name: self.name,
            file: self.place.file(),
            line: self.place.line(),
            named: true,
            in_impl: false,
            has_instances: false,
            is_blocking: false,
            policy: Policy {
                ttl,
                tiers: tiers.map(Cow::Owned),
                version: self.version,
                codec: self.codec,
                template: &[],
                coherence: self.coherence,
            },
        };
        CacheRuntime::check(&definition)?;
        Ok(Function {
            slot: Arc::new(FunctionSlot::made(
                definition.clone(),
                ReservedName::reserve(&definition)?,
            )),
            value_type: self.value_type,
            cache_if: self.cache_if,
            share: self.share,
        })
    }
}

/// The functions that were built and live, by name.
static RESERVED: Mutex<Option<HashMap<String, Reserved>>> = Mutex::new(None);

struct Reserved {
    definition: Arc<Definition>,
    /// It is for a task's own runtime, not for the one that is installed.
    is_in_scope: bool,
}

/// The living function that was built under a name.
pub(crate) fn made_as(name: &str) -> Option<Arc<Definition>> {
    let reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let reserved = reserved.as_ref()?.get(name)?;
    Some(Arc::clone(&reserved.definition))
}

/// All that live and were built outside of every [scope](CacheRuntime::scope).
pub(crate) fn made() -> Vec<Arc<Definition>> {
    let reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
    let made = reserved.iter().flat_map(HashMap::values);
    made.filter(|reserved| !reserved.is_in_scope)
        .map(|reserved| Arc::clone(&reserved.definition))
        .collect()
}

/// A name that no other function gets while this one or one of its handles lives: two would share their records.
#[derive(Debug)]
pub(crate) struct ReservedName(String);

impl ReservedName {
    fn reserve(definition: &Definition) -> Result<Self, Error> {
        let name = definition.name.to_string();
        let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        let reserved = reserved.get_or_insert_default();
        let annotated = Registered::all()
            .find(|other| other.name == name)
            .map(ToString::to_string);
        let made = || {
            reserved
                .get(&name)
                .map(|other| other.definition.to_string())
        };
        if let Some(other) = annotated.or_else(made) {
            return Err(Error::new(
                ErrorKind::DuplicateFunction,
                format!("two functions have one name: {other} and {definition}"),
            ));
        }
        let known = Reserved {
            definition: Arc::new(definition.clone()),
            is_in_scope: CacheRuntime::of_task().is_some(),
        };
        reserved.insert(name.clone(), known);
        Ok(Self(name))
    }
}

impl Drop for ReservedName {
    fn drop(&mut self) {
        let mut reserved = RESERVED.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(reserved) = reserved.as_mut() {
            reserved.remove(&self.0);
        }
    }
}
