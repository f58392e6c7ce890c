#![doc = include_str!("../README.md")]
//!
//! # Where things are
//!
//! - [`multi_tier_cached`](macro@multi_tier_cached): the attribute; [`invalidate!`]: the macro.
//! - [`CacheRuntime`]: what a program installs. [`Memory`], [`Redis`], and with their features `Disk`, `Memcached` and `Objects`: its
//!   tiers; [`TierConfig`], [`Promotion`]: what a tier is to its stack.
//! - [`Function`]: the same without the attribute; [`Handle`], [`Call`]: one key of a function.
//! - [`RuntimeBuilder::policy`], [`RuntimeBuilder::from_env`] and, with the feature `toml`, `RuntimeBuilder::functions_file`: times and
//!   tiers that are said in one place, or by operators.
//! - [`stream`]: logs beside the cache.
//! - [`tier`], [`codec`], and with its feature `testing`: for tiers and codecs of your own.
//! - [`migration`]: each item of multi-tier-cache 0.6.5, and what it is here.

// The attribute finds this crate by its own name in its examples and doctests, as it does in a user's crate.
extern crate self as multi_tier_cached;

#[cfg(feature = "testing")]
pub use cache_core::testing;
pub use cache_core::tier::{Matched, Receipt};
pub use cache_core::{
    Barrier, BoxedTier, BuildFromEnv, CacheRuntime, CacheValue, Call, Coherence, Consistency,
    Engine, EnvTier, Environment, Error, ErrorKind, Function, FunctionBuilder, FunctionStats,
    Handle, IntoTier, Invalidation, KeyArgument, Level, ManualClock, Memory, NotShared,
    OptionalCall, Outcome, PlainCall, Promotion, RefusedFills, RuntimeBuilder, RuntimeHealth,
    ShareByClone, ShareByText, ShareError, ShareWith, SharedError, SingleFlight, Snapshot, Stats,
    TierConfig, TierStats, Ttl, View, Weigh, WhenIsolated, WriteGuard, codec, registered_functions,
    stream, tier, unix_millis,
};
#[cfg(feature = "disk")]
pub use cache_disk::Disk;
#[cfg(feature = "memcached")]
pub use cache_memcached::Memcached;
#[cfg(feature = "objects")]
pub use cache_object::{Objects, opendal};
#[cfg(feature = "redis")]
pub use cache_redis::{Redis, Streams};

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/errors.md")]
pub mod errors {}

#[cfg(any(doc, doctest))]
#[doc = include_str!("../docs/migration.md")]
pub mod migration {}

/// What expansions name. No part of the public interface.
#[doc(hidden)]
pub use cache_core::private as __private;

/// Caches an `async fn`: a call looks in memory, then in the shared tier, and only then runs the body, once, however many
/// callers wait. A plain `fn` too, [in memory and on a disk](#plain-functions).
///
/// # Options
///
/// | option | meaning | default |
/// | --- | --- | --- |
/// | `ttl = "5m"` or `ttl(l1 = "30s", l2 = "1h")` | how long a value is fresh, up to 365 days, in every tier or in each (`install` refuses a time for a tier that the function does not have); a record in a tier below memory lives up to a twentieth shorter, depending on its key, so that records of one moment do not expire at one moment | required |
/// | `policy = "short"` | in place of `ttl`: a time that the runtime has under this name, of its own `real_time` (10 s), `short` (5 min), `medium` (1 h) and `long` (3 h), or of `CacheRuntime::builder().policy(..)` | |
/// | `tiers = "l1,l2"` | which tiers, in look-up order; one that is not named hears of no invalidation: raise `version` when you name it again | all that the runtime has |
/// | `name = "users::by_id"` | the name in keys, statistics and logs | the function's path |
/// | `version = 3` | a new version orphans old records | 1 |
/// | `key = "user:{id}"` | what is in the key, and how shared tiers show it; `{filter.kind}` takes a field; an argument of which nothing is in it is said in `skip` | all arguments |
/// | `skip(pool, ctx)` | arguments that are not in the key, nor are the types that only they name; an `&mut` argument is skipped by [`skip(mut conn)`](#what-is-kept) | none |
/// | `scope = self.tenant_id` | what of `self` is in the key; a method must say it, or `skip(self)`; an associated function says `scope = Self` | an error |
/// | `cache_if = \|v: &User\| v.active` | keep this value? | every one |
/// | `share_error = path::to::again` | a function `fn(&E) -> E` that rebuilds the error of a failed load for each call that waited for it; see [Errors](#errors) | by the type of the error |
/// | `codec = "json"` | how records are encoded | the runtime's |
/// | `when_isolated = "load"` | what to do while this instance cannot know what others have invalidated: `"serve"` from memory where the shared tier cannot be asked, or `"load"` | the runtime's, `"serve"` |
/// | `single_flight = "process"` | who waits for a load: callers in the whole `"cluster"`, or in one `"process"` | `"cluster"` |
/// | `consistency = "strong"` | how old an answer may be: `"bounded"`, or `"strong"`: each call asks the shared tier | `"bounded"` |
/// | `crate = "path"` | where the facade is | found by itself, renames included |
/// | `trait_impl` | the method stands in the `impl` of a trait: no [handle](#methods-of-traits) beside it (`#[async_trait]` is seen by itself). Without it the compiler says "method `get_entry` is not a member of trait" (E0407), and more | |
///
/// # What is kept
///
/// The value in `T`, `Option<T>`, `Result<T, E>` or `Result<Option<T>, E>`, told apart by type, so that aliases work. `None`
/// and `Err` are not kept. Values are `Clone + Send + Sync + 'static`; for tiers other than memory also `Serialize` and
/// `DeserializeOwned`. An `Arc<T>` is held in memory as it is.
///
/// Arguments are `Serialize`. Each instance of a generic function, and each type that a method belongs to, has keys of its
/// own: `invalidate!(find::<User>, 1)` says which. The type of an `impl Trait` argument is part of the key, without
/// references and smart pointers: what was called with a `String` is dropped with a `&str`. `0.0` and `-0.0` are two keys.
///
/// Types that only skipped arguments name are not in the key. With `skip(db)` and `db: E`, a value that was loaded through
/// `&pool` is dropped by `invalidate!(get_user, &mut *conn, 42)`, and `invalidate!(get_user)` needs no type. If such a type
/// changes the value, name it in the result or in an argument that is not skipped.
///
/// Read through a pool, not through a transaction: what a body reads in a transaction that is rolled back was never committed,
/// and the cache would still answer with it. A skipped `&mut` argument (`&mut Transaction`, `&mut Connection`, `&mut self`) is
/// therefore refused, unless it is written `skip(mut conn)`: the function then promises to read committed data only. The
/// attribute sees types as they are written: it cannot see what stands behind an alias, a `Transaction` that is passed by value,
/// or a generic `E: Executor`. Do not call such a function with a transaction that has written.
///
/// # What stands beside it
///
/// For a function `get_user` a struct `get_user` with `get_user::entry(args)`, a [`Call`] with `invalidate`, `peek`, `put`,
/// `refresh`, `strong` and `write_guard`, and `get_user::invalidate_all()`. For a method `Repo::get_user` the functions `Repo::get_user_entry(..)` and
/// `Repo::get_user_invalidate_all()`.
///
/// The struct takes the function's name among types and modules, where nothing else may have it; beside a method `get_user`
/// the names `get_user_entry`, `get_user_invalidate_all` and those that begin with `__get_user_` are taken.
///
/// # Methods of traits
///
/// Nothing can stand beside a method in the `impl` of a trait, so such a method has no handle, and `invalidate!` cannot name it.
/// To invalidate by key, annotate an inherent method and call it from the trait's method:
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
/// The same with `#[async_trait]`, in full, is the example `trait_methods`. A method that is annotated in the `impl` of a trait, with
/// `trait_impl`, can be invalidated as a whole by its name, `CacheRuntime::invalidate_matching(name, "*")`.
///
/// # Plain functions
///
/// A `fn` without `async` is cached with the same promises, with or without an async runtime, in memory (`tiers = "l1"`) and on a
/// disk. Who waits for another's load waits with its thread. Any other tier is refused by `install`: it needs the async
/// runtime's threads, which would be waiting for it. (A tier of your own is taken for such a one, unless it [says](tier::TierSettings::works_without_runtime) that threads may wait for it.) In place of `.await` stand
/// [`Invalidation::blocking`] and [`CacheRuntime::scope_blocking`]; the other methods of a handle are futures here too.
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
/// # Errors
///
/// The function's own. A cache that is broken or slow never fails a call: the body runs. An error is never kept: the next call
/// runs the body.
///
/// When a load fails, its error is shared with the calls that waited for it if its type allows that:
///
/// | the error `E` | what a call that waited gets |
/// | --- | --- |
/// | any `Send + Sync + 'static`, and `share_error = again` is given | what `again(&error)` returns |
/// | `E: Clone + Send + Sync + 'static` | a clone, of the same kind |
/// | `E: From<SharedError> + Display`, as `anyhow::Error` and `Box<dyn Error + Send + Sync>` are | the text of the error, as a [`SharedError`]; it cannot be matched: a "not found" is then text like any other error |
/// | any other, such as `std::io::Error` or `sqlx::Error` | nothing: the error is not shared, and all calls that waited run the body, at the same time |
///
/// In the last case a burst of calls of a key whose load fails is a burst of loads. To load once for all of them, make the error
/// cloneable or rebuild it:
///
/// - Wrap it: `#[derive(Clone)] enum AppError { NotFound, Database(Arc<sqlx::Error>) }` is shared as it is, and can be matched.
///   Prefer this to `#[from] SharedError`, which turns the `NotFound` of a call that waited into text.
/// - Where the type is not yours to change, rebuild it with `share_error`:
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
/// Cancel safe, as far as the body is. If a call that runs the body for others is dropped, the first of them that is polled
/// runs its own body. A call that runs the body must be polled or dropped: held unpolled, it keeps the others of its key
/// waiting.
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

/// Drops values of a cached function in every tier.
///
/// `invalidate!(get_user, 42)` drops one key, `invalidate!(get_user)` all of the function, at a cost that does not depend on
/// how many there are. For methods the owner and `self` are named: `invalidate!(Repo::get_user, &repo, 42)`. It is a future;
/// `.await` it.
///
/// The compiler checks it against the function's own signature. A path whose owner begins with a capital letter, or is
/// `Self` or `<T>`, is a method; any other is a free function, under whatever name it was imported. "Cannot find module" (E0433)
/// says that there is no such function, or that it is not annotated.
///
/// # What it promises
///
/// When it has returned `Ok`, no call that starts on this instance gets a value whose load began before it, and no such value
/// is stored in a shared tier afterwards, by any instance. With `Ok(Receipt::Acked)` other instances no longer answer with it
/// once the bound has passed (`Redis::staleness_bound`, 500 ms); [`settled`](Invalidation::settled) returns when that is so. With
/// `Ok(Receipt::Queued)` a shared tier could not be reached, and is told when it can be.
///
/// # Errors
///
/// The arguments make no key, or a tier was shut down, or is one that does not queue; of several the uppermost one's error. All tiers
/// were tried, and memory is clean all the same.
///
/// # Cancel safety
///
/// Dropped before its first poll it does nothing. Dropped later, a shared tier that queues is told all the same.
///
/// # Examples
///
/// ```
/// use multi_tier_cached::{Error, invalidate, multi_tier_cached};
///
/// #[multi_tier_cached(ttl = "5m")]
/// async fn square(n: u64) -> u64 {
///     n * n
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// square(3).await;
/// invalidate!(square, 3).await?;
/// invalidate!(square).await?;
/// # Ok(())
/// # }
/// ```
pub use cache_macros::invalidate;
