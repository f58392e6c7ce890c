#![doc = include_str!("../README.md")]
//!
//! # Overview
//!
//! - [`multi_tier_cached`](macro@multi_tier_cached): the attribute; [`invalidate!`], [`expire!`],
//!   [`tag!`]: the macros.
//! - [`CacheRuntime`]: the runtime that a program installs. Its tiers are [`Memory`], [`Redis`],
//!   and with their features `Disk`, `Memcached` and `Objects`; [`TierConfig`] and [`Promotion`]
//!   configure them.
//! - [`Function`]: a cached function without the attribute. [`Handle`], [`Call`]: one key of a
//!   function. [`BatchEntry`]: several.
//! - [`RuntimeBuilder::policy`], [`RuntimeBuilder::from_env`] and, with the feature `toml`,
//!   `RuntimeBuilder::functions_file`: ttls and tiers that are set in one place, or by operators.
//! - [`stream`]: streams beside the cache.
//! - [`tier`], [`codec`], and with the feature `testing` the module `testing`: for tiers and codecs
//!   of your own.
//! - [`migration`]: each item of multi-tier-cache 0.6.5, and its replacement here.

// In its examples and doctests the attribute finds this crate by its own name, as in a user's
// crate.
extern crate self as multi_tier_cached;

mod macros;

#[cfg(feature = "inspect")]
pub use cache_core::inspect;
#[cfg(feature = "testing")]
pub use cache_core::testing;
pub use cache_core::tier::{Matched, Receipt};
pub use cache_core::{
    BackgroundLoads, Barrier, BatchEntry, BoxedTier, BuildFromEnv, CacheRuntime, CacheValue, Call,
    CallOutcome, CallStep, CallTrace, ChannelSeen, Coherence, Consistency, Engine, EnvTier,
    Environment, Error, ErrorIf, ErrorKind, Event, EventKind, EventOrigin, EventScope,
    ExpiriesByScope, ExplainedFlight, ExplainedTier, Explanation, FencedBy, Function,
    FunctionBuilder, FunctionStats, Handle, Histogram, HistogramBucket, IntoTier, Invalidation,
    InvalidationsByScope, KeyArgument, Level, LoadTimeout, LoadTimes, ManualClock, Memory,
    Mismatch, NextCall, NotShared, OptionalCall, Outcome, PlainCall, Promotion, RecordSeen,
    RefreshAhead, RefusedFills, RuntimeBuilder, RuntimeHealth, ShareByClone, ShareByText,
    ShareError, ShareWith, SharedError, SingleFlight, Snapshot, StaleReason, Stats, StepKind, Tag,
    TierConfig, TierStats, Ttl, UncachedCalls, Verdict, View, Weigh, WhenIsolated, WriteGuard,
    caching, codec, metrics, registered_functions, stream, tier, unix_millis,
};
#[cfg(feature = "disk")]
pub use cache_disk::Disk;
#[cfg(feature = "memcached")]
pub use cache_memcached::Memcached;
#[cfg(feature = "objects")]
pub use cache_object::{Objects, opendal};
#[cfg(feature = "prometheus")]
pub use cache_prometheus::{
    CONTENT_TYPE as PROMETHEUS_CONTENT_TYPE, PrometheusMetrics, RuntimeCollector, prometheus_client,
};
#[cfg(feature = "redis")]
pub use cache_redis::{Credentials, Redis, Streams};

pub use self::macros::{expire, invalidate, tag};

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/migration.md")]
pub mod migration {}

/// The items that generated code names. They are no part of the public interface.
#[doc(hidden)]
pub use cache_core::private as __private;

/// Caches an `async fn`: a call looks in memory, then in the tiers below it, and only then runs the
/// body, once for all callers that wait. It also caches a plain `fn`, [in memory and on a
/// disk](#plain-functions).
///
/// # Options
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `ttl = "5m"` or `ttl(l1 = "30s", l2 = "1h")` | how long a value is fresh, up to 365 days, in every tier or in each (`install` refuses a ttl for a tier that the function does not have); a record in a tier below memory lives up to 5 % shorter, depending on its key, so that records that were stored together do not expire together | required |
/// | `policy = "short"` | instead of `ttl`: a ttl that the runtime has under this name, one of its own `real_time` (10 s), `short` (5 min), `medium` (1 h) and `long` (3 h), or one from `CacheRuntime::builder().policy(..)` | |
/// | `tiers = "l1,l2"` | the tiers, in look-up order; a tier that is not listed receives no invalidations: raise `version` when you add it back | all tiers of the runtime |
/// | `name = "users::by_id"` | the name in keys, statistics and logs | the function's path |
/// | `version = 3` | records of another version are ignored | 1 |
/// | `key = "user:{id}"` | the arguments in the key, and how shared tiers show it; `{filter.kind}` takes a field; arguments that the template does not use must be listed in `skip` | all arguments |
/// | `skip(pool, ctx)` | arguments that are not in the key, with the types that only they name; an `&mut` argument is skipped by [`skip(mut conn)`](#what-is-kept) | none |
/// | `scope = self.tenant_id` | the part of `self` that is in the key; a method must set it, or `skip(self)`; an associated function sets `scope = Self` | an error |
/// | `cache_if = \|v: &User\| v.active` | returns `true` if a value is kept | every value is kept |
/// | `share_error = path::to::again` | a function `fn(&E) -> E` that rebuilds the error of a failed load for each call that waited for it; see [Errors](#errors) | depends on the type of the error |
/// | `codec = "json"` | how records are encoded | the runtime's |
/// | `when_isolated = "load"` | what a call does while this instance cannot know which invalidations others made: `"serve"` returns values from memory if the shared tier cannot be reached, `"load"` loads | the runtime's, `"serve"` |
/// | `single_flight = "process"` | which callers wait for a load: those in the whole `"cluster"`, or in one `"process"` | `"cluster"` |
/// | `consistency = "strong"` | `"bounded"`: a value is stale for at most the staleness bound; `"strong"`: each call asks the shared tier | `"bounded"` |
/// | `stale_while_revalidate = "1m"` | for how long after the end of the ttl a call returns the stale value at once, while one load [in the background](#loads-in-the-background) replaces it | no stale value is returned |
/// | `stale_if_error = "6h"` | for how long after the end of the ttl a call returns the stale value if its load fails: by an `Err`, a panic or a timeout | a failed load fails the call |
/// | `stale_if = \|e: &E\| e.is_transient()` | returns `true` if a stale value is returned in place of an error; a closure or a path; needs `stale_if_error` | in place of every error |
/// | `soft_timeout = "200ms"` | after how long, from the beginning of a load, its callers get the stale value, while the load continues [in the background](#loads-in-the-background); shorter than `hard_timeout`; needs `stale_if_error`, because no other value could be returned | callers wait for the load |
/// | `hard_timeout = "2s"` | the longest time that a caller waits for a load, its own or another caller's; the load continues [in the background](#loads-in-the-background), and the caller gets the stale value if `stale_if_error` allows it, and a [`LoadTimeout`](#timeouts) otherwise; shorter than `load_limit` | none: only you know how long a body may take |
/// | `load_limit = "30s"` | after how long, from its beginning, a body is dropped, which frees its key; its callers get a [`LoadTimeout`](#timeouts) | in the background four times the `hard_timeout`, or 5 min without it, so that a body that hangs does not hold its key for ever; otherwise none |
/// | `refresh_ahead` or `refresh_ahead = "5m"` | a value that is requested shortly before it expires is loaded again [in the background](#loads-in-the-background): two to several times as long before as its last load took, and at least that time before, which must be shorter than the ttl | values expire, and the next call waits for the load |
/// | `jitter = "10%"` | the largest part of its life by which a value expires earlier, depending on its key: a whole percentage up to 50 % | 5 % in tiers below memory, none in memory |
/// | `none_ttl = "30s"` | how long the result that there is no value (`None`) is kept, up to 365 days | `None` is not kept, so that a new value is found at once |
/// | `error_ttl = "5s"` | how long an error is kept, up to 60 s, in the memory of this instance only; needs `error_if` | errors are not kept |
/// | `error_if = \|e: &E\| e.is_not_found()` | returns `true` if an error is kept; a closure or a path; `E: Clone + Send + Sync + 'static`; needs `error_ttl` | |
/// | `ttl_from = \|v: &Token\| v.expires_in` | returns the ttl of a value as a `Duration`, which takes the place of the function's ttl in every tier, also for `put` (`put_for` has a ttl of its own); a value whose ttl is zero is not kept, and one above 365 days counts as 365 days | the ttl of the function |
/// | `tags = ["user:{id}", "all-users"]` | the [tags](#tags) of every value: templates over the parts of the key | values have no tags |
/// | `tags_of = \|v: &User\| [tag!("org:{v.org}")]` | returns tags of a value, in addition to `tags`: anything that iterates over [`Tag`]s | |
/// | `batch = ids` or `batch(ids, most = 500)` | the argument with the [ids](#functions-of-several-ids), each of which has a key of its own; the body gets at most `most` of them at once | one key for each call; `most = 1000` |
/// | `same_as = get_user` | in place of all other options of a batch, except `skip`: its keys, values and options are those of a function of one id | |
/// | `crate = "path"` | the path of the facade | found automatically, also if it is renamed |
/// | `trait_impl` | the method is in the `impl` of a trait, so no [handle](#methods-of-traits) is generated (`#[async_trait]` is recognized without it). If it is missing, the compiler reports "method `get_entry` is not a member of trait" (E0407) and similar errors | |
///
/// # What is kept
///
/// The value in a `T`, `Option<T>`, `Result<T, E>` or `Result<Option<T>, E>`. The type decides
/// which it is, so aliases work. `None` and `Err` are kept with `none_ttl` and `error_ttl` only.
/// Values are
/// `Clone + Send + Sync + 'static`; for tiers other than memory they are also `Serialize` and
/// `DeserializeOwned`. An `Arc<T>` is held in memory as it is.
///
/// Arguments are `Serialize`. Each instance of a generic function, and each type that a method
/// belongs to, has keys of its own: `invalidate!(find::<User>, 1)` chooses one. The type of an
/// `impl Trait` argument is part of the key, without references and smart pointers: an invalidation
/// with a `&str` finds the value of a call with a `String`. `0.0` and `-0.0` are two keys.
///
/// Types that only skipped arguments name are not in the key. With `skip(db)` and `db: E`,
/// `invalidate!(get_user, &mut *conn, 42)` finds a value that was loaded through `&pool`, and
/// `invalidate!(get_user)` needs no type. If such a type changes the value, name it in the result
/// or in an argument that is not skipped.
///
/// Read through a pool, not through a transaction: data that a body reads in a transaction that is
/// rolled back was never committed, and the cache would still return it. A skipped `&mut` argument
/// (`&mut Transaction`, `&mut Connection`, `&mut self`) is therefore refused, unless it is written
/// `skip(mut conn)`. Then you must make sure that the body reads only committed data. The attribute
/// sees types as they are written. It cannot see through an alias, a `Transaction` that is passed
/// by value, or a generic `E: Executor`. Do not call such a function with a transaction that has
/// written.
///
/// # Generated items
///
/// For a function `get_user` the attribute declares a struct `get_user` with three functions:
///
/// - `get_user::entry(args)` returns a [`Call`] with `invalidate`, `peek`, `put`, `refresh`,
///   `strong` and `write_guard`.
/// - `get_user::invalidation(args)` returns the [`Invalidation`] of one key. It runs no part of the
///   function, and holds none of its arguments.
/// - `get_user::invalidate_all()` returns the [`Invalidation`] of all keys.
///
/// For a method `Repo::get_user` they are `Repo::get_user_entry(..)`,
/// `Repo::get_user_invalidation(..)` and `Repo::get_user_invalidate_all()`.
///
/// No other type or module may have the name of the function. Beside a method `get_user` those
/// three names, and all that begin with `__get_user_`, are reserved.
///
/// # Methods of traits
///
/// An `impl` of a trait may contain no other items, so a method in it has no handle, and
/// `invalidate!` cannot name it. To invalidate by key, annotate an inherent method and call it from
/// the trait's method:
///
/// ```
/// # use multi_tier_cached::{Error, invalidate, multi_tier_cached};
/// trait Pricing {
///     async fn price(&self, item: u64) -> u64;
/// }
///
/// struct Repo;
///
/// impl Repo {
///     #[multi_tier_cached(ttl = "5m", skip(self))]
///     async fn cached_price(&self, item: u64) -> u64 {
///         item * 100
///     }
/// }
///
/// impl Pricing for Repo {
///     async fn price(&self, item: u64) -> u64 {
///         self.cached_price(item).await
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// assert_eq!(Repo.price(7).await, 700);
/// invalidate!(Repo::cached_price, &Repo, 7).await?;
/// # Ok(())
/// # }
/// ```
///
/// The example `trait_methods` shows the same with `#[async_trait]`. A method that is annotated in
/// the `impl` of a trait, with `trait_impl`, can be invalidated as a whole by its name:
/// `CacheRuntime::invalidate_matching(name, "*")`.
///
/// # Plain functions
///
/// A `fn` without `async` is cached with the same promises, with or without an async runtime, in
/// memory (`tiers = "l1"`) and on a disk. A call that waits for another caller's load blocks its
/// thread. `install` refuses any other tier, because it needs the threads of the async runtime,
/// which could be blocked by calls that wait for it. (A tier of your own is refused too, unless its
/// settings say that it [works without a
/// runtime](tier::TierSettings::works_without_runtime).) Instead of `.await`, use
/// [`Invalidation::blocking`] and [`CacheRuntime::scope_blocking`]. The other methods of a handle
/// are futures here too.
///
/// ```
/// use multi_tier_cached::{Error, invalidate, multi_tier_cached};
///
/// #[multi_tier_cached(ttl = "1h", tiers = "l1")]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// # fn main() -> Result<(), Error> {
/// assert_eq!(square(3), 9);
/// invalidate!(square, 3).blocking()?;
/// # Ok(())
/// # }
/// ```
///
/// # Loads in the background
///
/// With `stale_while_revalidate`, `refresh_ahead`, `soft_timeout` or `hard_timeout`, the load of a
/// call may continue after the caller was answered. Such a load owns everything that it uses. When
/// a load begins, and never on a hit, each argument that is passed by reference is copied by
/// [`ToOwned`], `&self` included: a `&str` to a `String`, a `&[T]` to a `Vec<T>`, a `&Pool` to a
/// clone. The other arguments are moved. Hence the requirements, each of which is a compile error
/// at the place that does not meet it:
///
/// - Arguments that are passed by reference are `Clone + Send + Sync + 'static`, and those that are
///   passed by value are `Send + 'static`. They do not borrow inside (`Option<&str>`), and none is
///   an `&mut`.
/// - The future of the body is `Send`, and the result is `Send + 'static`.
/// - The function is an `async fn`, and no method in the `impl` of a trait. Put the body of such a
///   method into a function of its own and cache that.
///
/// The runtime owns the load: [`CacheRuntime::shutdown`] ends it. It runs in the `CacheRuntime` of
/// the caller, and sees no other task-local value of the caller. The methods
/// [`refresh`](Handle::refresh) and [`strong`](Handle::strong) of a handle never return a stale
/// value, have no timeout, and load in the foreground.
///
/// ```
/// use std::sync::Arc;
///
/// use multi_tier_cached::multi_tier_cached;
///
/// #[derive(Clone)]
/// struct Pool(Arc<str>);
///
/// #[multi_tier_cached(
///     ttl = "5m",
///     skip(pool),
///     stale_while_revalidate = "1m",
///     stale_if_error = "6h",
///     refresh_ahead
/// )]
/// async fn title(pool: &Pool, slug: &str) -> Option<String> {
///     Some(format!("{slug} of {}", pool.0))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let pool = Pool("the blog".into());
/// assert_eq!(title(&pool, "news").await.as_deref(), Some("news of the blog"));
/// # }
/// ```
///
#[doc = include_str!("tags_and_batches.md")]
///
/// # Timeouts
///
/// A function with `hard_timeout` or `load_limit` returns a `Result<_, E>` with
/// `E: From<LoadTimeout>`: `anyhow::Error`, `Box<dyn Error + Send + Sync>`, or an error of yours
/// with a variant such as `#[error(transparent)] Timeout(#[from] LoadTimeout)`. A [`LoadTimeout`]
/// is always about the body: a tier that is slow or cannot be reached never fails a call.
///
/// At its `load_limit` a body is dropped at the `.await` where it is. Tasks that it has spawned
/// continue.
///
/// ```
/// use std::time::Duration;
///
/// use multi_tier_cached::{LoadTimeout, multi_tier_cached};
///
/// #[derive(Debug)]
/// enum Failure {
///     Timeout(LoadTimeout),
/// }
///
/// impl From<LoadTimeout> for Failure {
///     fn from(timeout: LoadTimeout) -> Self {
///         Self::Timeout(timeout)
///     }
/// }
///
/// #[multi_tier_cached(ttl = "5m", load_limit = "10ms")]
/// async fn slow(id: u64) -> Result<u64, Failure> {
///     tokio::time::sleep(Duration::from_secs(60)).await;
///     Ok(id)
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// let Err(Failure::Timeout(timeout)) = slow(1).await else {
///     panic!("the body takes longer than its limit");
/// };
/// assert_eq!(timeout.after(), Duration::from_millis(10));
/// # }
/// ```
///
/// # Errors
///
/// The function's own, and a [`LoadTimeout`](#timeouts) with `hard_timeout` or `load_limit`. A
/// cache that is broken or slow never fails a call: the body runs. An error is not kept, so that
/// the next call runs the body, unless `error_ttl` and `error_if` say so.
///
/// When a load fails, its error is shared with the calls that waited for it if its type allows
/// that:
///
/// | the error `E` | what a call that waited gets |
/// | --- | --- |
/// | any `Send + Sync + 'static`, and `share_error = again` is given | what `again(&error)` returns |
/// | `E: Clone + Send + Sync + 'static` | a clone, of the same kind |
/// | `E: From<SharedError> + Display`, as `anyhow::Error` and `Box<dyn Error + Send + Sync>` are | the text of the error, as a [`SharedError`]; it cannot be matched: a "not found" is then text like any other error |
/// | any other, such as `std::io::Error` or `sqlx::Error` | no error: it is not shared, and all calls that waited run the body, at the same time |
///
/// In the last case, a burst of calls of a key whose load fails is a burst of loads. To load once
/// for all of them, make the error cloneable or rebuild it:
///
/// - Wrap it: `#[derive(Clone)] enum AppError { NotFound, Database(Arc<sqlx::Error>) }` is shared
///   as it is, and can be matched. Prefer this to `#[from] SharedError`, which turns the `NotFound`
///   of a call that waited into text.
/// - If you cannot change the type, rebuild it with `share_error`:
///
/// ```
/// use std::io;
///
/// use multi_tier_cached::multi_tier_cached;
///
/// fn again(error: &io::Error) -> io::Error {
///     io::Error::new(error.kind(), error.to_string())
/// }
///
/// #[multi_tier_cached(ttl = "5m", share_error = again)]
/// async fn template(name: &str) -> io::Result<String> {
///     Err(io::Error::new(io::ErrorKind::NotFound, format!("no template `{name}`")))
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() {
/// // One load; the second call waits for it, and gets an error of the same kind.
/// let (first, second) = tokio::join!(template("receipt"), template("receipt"));
/// assert_eq!(first.unwrap_err().kind(), io::ErrorKind::NotFound);
/// assert_eq!(second.unwrap_err().kind(), io::ErrorKind::NotFound);
/// # }
/// ```
///
/// # Cancel safety
///
/// Cancel safe, if the body is. If a call that runs the body for others is dropped, the first of
/// them that is polled runs its own body. A call that runs the body must be polled or dropped: if
/// it is held without being polled, the other callers of its key wait.
///
/// If loads of the function may continue [in the background](#loads-in-the-background), the load of
/// a dropped call does so if other callers wait for it, and is dropped otherwise. With
/// `hard_timeout` and `soft_timeout` a load also continues if every caller was answered. With
/// `load_limit`, and with the limit that a load in the background has without it, the body itself
/// may be dropped at any of its `.await`s, also if no caller was dropped.
///
/// # Examples
///
/// ```
/// use std::sync::Arc;
///
/// use multi_tier_cached::{Error, invalidate, multi_tier_cached};
///
/// #[derive(Debug, PartialEq)]
/// struct Report(String);
///
/// struct Reports {
///     tenant: u64,
/// }
///
/// impl Reports {
///     #[multi_tier_cached(ttl = "1h", tiers = "l1", scope = self.tenant)]
///     async fn monthly(&self, year: u32, month: u8) -> Arc<Report> {
///         Arc::new(Report(format!("{year}-{month} of {}", self.tenant)))
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// let reports = Reports { tenant: 7 };
/// let first = reports.monthly(2026, 11).await;
/// assert!(Arc::ptr_eq(&first, &reports.monthly(2026, 11).await));
/// invalidate!(Reports::monthly, &reports, 2026, 11).await?;
/// assert_eq!(Reports::monthly_entry(&reports, 2026, 11).peek().await, None);
/// # Ok(())
/// # }
/// ```
pub use cache_macros::multi_tier_cached;
