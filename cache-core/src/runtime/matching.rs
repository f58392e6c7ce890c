//! Invalidation by pattern: an administrator's.

use std::sync::{Arc, PoisonError};

use super::{CacheRuntime, Registered};
use crate::cached_function::{CachedFunction, FencedAfter};
use crate::error::Error;
use crate::function::definition::Definition;
use crate::glob::Glob;
#[cfg(doc)]
use crate::tier::Receipt;
use crate::tier::{FunctionKey, Matched};

impl CacheRuntime {
    /// Drops the values of one function whose arguments match a [pattern](crate::tier::Glob), in every tier and on every instance, and
    /// returns how many a tier had at most, as far as it counts. Zero keys may mean that nothing matched, which is in the log too. The arguments are as shared tiers show them (`42,tea`, or as the
    /// function's `key` says): numbers as in a call, with their type behind them or without (`42` or `42i32`), `None` as `~`; those that are too
    /// long to be shown whole are dropped by every pattern. `42*` means all of these.
    ///
    /// A generic function or a method is many, one for each choice of types: by its own name all are meant
    /// that were called in this process or are in Redis, by `find<app::User>` (as statistics and shared tiers show it) that one.
    ///
    /// For administrators, not for the path of a request: Redis is asked for all its keys, twice, 512 at a time, a disk for those
    /// of the function. A tier that cannot look at its keys (memcached, object storage) drops the whole function. Memory above
    /// other tiers drops the function, and asks them again. What is loaded meanwhile is dropped if its load began before.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration): a pattern that cannot be read, no function that is called so, or a generic one
    /// none of which was called here, where a tier cannot list those it has. What a tier says that can be reached and refuses.
    ///
    /// A tier that cannot be reached is no error: a pattern cannot be kept for it, so the whole function is invalidated in its place,
    /// later, as [`Receipt::Queued`] says.
    ///
    /// # Cancel safety
    /// Dropped, it leaves some of them.
    pub async fn invalidate_matching(
        &self,
        function: &str,
        pattern: &str,
    ) -> Result<Matched, Error> {
        let matched = self.drop_matching(function, pattern).await?;
        if matched == Matched::NONE {
            tracing::info!(
                function,
                "a pattern matches no key of the function, as far as its tiers can count"
            );
        }
        Ok(matched)
    }

    async fn drop_matching(&self, function: &str, pattern: &str) -> Result<Matched, Error> {
        let glob = Glob::new(pattern)?;
        let bound = self.called(function);
        // Who calls it for the first time meanwhile may have read what was not gone yet.
        let _after = FencedAfter(|| {
            for late in self.called(function) {
                if !bound.iter().any(|known| Arc::ptr_eq(known, &late)) {
                    late.fence_off_all();
                }
            }
        });
        let mut matched = Matched::NONE;
        for bound in &bound {
            matched = matched.and(bound.invalidate_matching(&glob).await?);
        }
        for key in self.keys_of_uncalled(function, &bound).await? {
            matched = matched.and(self.0.state.invalidate_matching(&key, &glob).await?);
        }
        Ok(matched)
    }

    /// The names under which tiers know what is meant by a name and was not called here. `bound` was.
    ///
    /// # Errors
    /// Nothing of that name was called here, and there is none, or a tier cannot tell which instances it has.
    async fn keys_of_uncalled(
        &self,
        function: &str,
        bound: &[Arc<CachedFunction>],
    ) -> Result<Vec<FunctionKey>, Error> {
        let mut generic: Vec<u32> = Registered::all()
            .filter(|definition| definition.has_instances && definition.name == function)
            .filter(|definition| definition.has_records())
            .map(|definition| definition.policy.version)
            .collect();
        generic.dedup();
        let mut keys = Vec::new();
        for version in generic {
            let (found, failed) = self.0.state.instances(function, version).await;
            match failed {
                Some(error) if bound.is_empty() => {
                    return Err(Error::with_source(
                        error.kind(),
                        format!(
                            "`{function}` is generic, and none of its instances was called in this process"
                        ),
                        error,
                    )
                    .with_help(format!("name an instance, such as `{function}<app::User>`")));
                }
                Some(error) => {
                    tracing::debug!(function, error = ?error, "a tier cannot list instances")
                }
                None => {}
            }
            let is_bound = |key: &FunctionKey| {
                let mut known = bound
                    .iter()
                    .map(|bound| FunctionKey::new(bound.name(), version));
                known.any(|known| known == *key)
            };
            keys.extend(found.into_iter().filter(|key| !is_bound(key)));
        }
        if bound.is_empty() {
            keys.extend(key_of_uncalled(function)?);
        }
        Ok(keys)
    }

    /// The functions of this name that were called in this runtime: several where it is the name of a generic function.
    fn called(&self, function: &str) -> Vec<Arc<CachedFunction>> {
        let all = self.0.bound.read().unwrap_or_else(PoisonError::into_inner);
        let named = all.values().filter(|bound| bound.is_called(function));
        named.cloned().collect()
    }
}

/// The name under which tiers know a function that was not called in a runtime yet; `None` for one that memory alone has, or that
/// is one for each choice of types.
///
/// # Errors
/// There is none of that name.
fn key_of_uncalled(function: &str) -> Result<Option<FunctionKey>, Error> {
    let is_instance_of = |definition: &Definition| {
        let rest = function.strip_prefix(&*definition.name);
        definition.has_instances && rest.is_some_and(|rest| rest.starts_with('<'))
    };
    let declared = Registered::all()
        .find(|definition| definition.name == function || is_instance_of(definition));
    let Some(declared) = declared else {
        let made = crate::function::built::made_as(function)
            .ok_or_else(|| Error::configuration(format!("unknown function `{function}`")))?;
        return Ok(made
            .has_records()
            .then(|| FunctionKey::new(function, made.policy.version)));
    };
    if declared.has_instances && declared.name == function {
        return Ok(None);
    }
    Ok(declared
        .has_records()
        .then(|| FunctionKey::new(function, declared.policy.version)))
}
