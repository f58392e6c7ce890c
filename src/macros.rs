//! The macros beside the attribute.

/// Invalidates values of a cached function in every tier.
///
/// `invalidate!(get_user, 42)` invalidates one key, `invalidate!(get_user)` all keys of the
/// function, at a cost that does not depend on their number. For methods, name the owner and pass
/// `self`: `invalidate!(Repo::get_user, &repo, 42)`. For a function of several ids, pass them:
/// `invalidate!(get_users, &[1, 2])`. `invalidate!(tag "user:{id}", "all-users")` invalidates all
/// values that have one of the [tags](macro@crate::multi_tier_cached#tags), of whichever function;
/// the texts are those of [`tag!`](crate::tag!). It is an [`Invalidation`](crate::Invalidation), a
/// future: `.await` it. It runs no part of the function.
///
/// The compiler checks the arguments against the function's own signature. A path whose owner
/// begins with a capital letter, or is `Self` or `<T>`, is a method. Any other path is a free
/// function, by any name under which it was imported. "Cannot find module" (E0433) means that there
/// is no such function, or that it is not annotated.
///
/// # What it promises
///
/// After it has returned `Ok`, no call that starts on this instance returns a value whose load
/// began before it. With `Ok(Receipt::Acked)` no instance stores such a value in a shared tier any
/// more, and other instances no longer return it once the staleness bound has passed
/// (`Redis::staleness_bound`, 500 ms); [`settled`](crate::Invalidation::settled) waits for that.
/// `Ok(Receipt::Queued)` means that a shared tier could not be reached: it receives the
/// invalidation when it is back, and until then other instances may return and store the old value.
///
/// # Errors
///
/// If the arguments make no key, or if a tier was shut down, or does not queue and could not be
/// reached. If several tiers fail, the error is that of the uppermost. All tiers were tried, and
/// the value is removed from memory in any case.
///
/// # Cancel safety
///
/// Dropped before its first poll it does nothing. Dropped later, shared tiers that queue still
/// receive the invalidation.
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

/// Makes values of a cached function stale, instead of removing them.
///
/// The input is that of [`invalidate!`](crate::invalidate!): `expire!(get_user, 42)` is for one
/// key, `expire!(get_user)` for all keys of the function, and `expire!(tag "user:{id}")` for all
/// values that have a tag. It is an [`Invalidation`](crate::Invalidation) too.
///
/// A function with `stale_while_revalidate` returns the stale value at once, while the next call
/// begins one load of a new value. One with `stale_if_error` returns it if that load fails. The
/// windows end when they would have ended without the expiry. Values of functions without such a
/// window are invalidated.
///
/// # What it promises
///
/// After it has returned `Ok`, no call that starts on this instance returns a value as a fresh one
/// whose load began before it. Otherwise it promises what
/// [`invalidate!`](crate::invalidate!#what-it-promises) does. A shared tier that cannot expire
/// values invalidates them: see [`into_expiry`](crate::Invalidation::into_expiry).
///
/// # Errors
///
/// As [`invalidate!`](crate::invalidate!#errors).
///
/// # Cancel safety
///
/// As [`invalidate!`](crate::invalidate!#cancel-safety).
///
/// # Examples
///
/// ```
/// use multi_tier_cached::{Error, expire, multi_tier_cached};
///
/// #[multi_tier_cached(ttl = "5m", stale_while_revalidate = "1h", tags = ["all-pages"])]
/// async fn page(number: u64) -> u64 {
///     number * 100
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Error> {
/// page(3).await;
/// expire!(page, 3).await?;
/// assert_eq!(page(3).await, 300); // the old value, while a new one is loaded
/// expire!(page).await?;
/// expire!(tag "all-pages").await?;
/// # Ok(())
/// # }
/// ```
pub use cache_macros::expire;

/// Makes a [`Tag`](crate::Tag) from a text with variables: `tag!("user:{id}")`.
///
/// A placeholder names a variable or a field of one (`{user.org}`, `{pair.0}`), whose type is
/// `Serialize`. It is written as [`tags`](macro@crate::multi_tier_cached#tags) of a function write
/// their arguments. Integers of all types are written alike, and no value of an argument makes
/// another tag: `Tag::new(format!("user:{name}"))` does not promise that. `{{` and `}}` stand for
/// the braces themselves. Between two placeholders there is a sign that no argument contains, such
/// as `:` or `/`.
///
/// # Examples
///
/// ```
/// use multi_tier_cached::{Tag, tag};
///
/// struct User {
///     id: u64,
///     name: &'static str,
/// }
///
/// let user = User { id: 42, name: "a:b" };
/// assert_eq!(tag!("user:{user.id}"), Tag::new("user:42"));
/// assert_ne!(tag!("name:{user.name}"), Tag::new("name:a:b")); // it is escaped
/// assert_eq!(tag!("all-users"), Tag::new("all-users"));
/// ```
pub use cache_macros::tag;
