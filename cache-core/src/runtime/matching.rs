//! Invalidation by a pattern of arguments, for administrators.

use std::sync::Arc;

use super::CacheRuntime;
use crate::cached_function::CachedFunction;
use crate::error::Error;
use crate::fence::FencedAfter;
use crate::function::definition::Definition;
use crate::function::registry;
use crate::glob::Glob;
#[cfg(doc)]
use crate::tier::Receipt;
use crate::tier::{FunctionKey, Matched};

impl CacheRuntime {
    /// Invalidates the values of one function whose arguments match a [pattern](crate::tier::Glob),
    /// in every tier and on every instance. Returns the largest number of keys that one tier had,
    /// as far as the tiers count keys. If no tier counted a key, nothing may have matched; the log
    /// says so too.
    ///
    /// The pattern is compared with the arguments as shared tiers show them: `42,tea`, or the form
    /// of the function's `key`. Numbers are written as in a call, with or without their type (`42`
    /// or `42i32`), and `None` as `~`. Arguments that are too long to be shown in full match every
    /// pattern. `42*` matches all of these.
    ///
    /// A generic function or a method has an instance for each choice of types. Its own name means
    /// all instances that were called in this process or have records in Redis. The name
    /// `find<app::User>`, as statistics and shared tiers show it, means one instance.
    ///
    /// This is for administrators, not for the path of a request: Redis scans all its keys twice,
    /// 512 at a time, and a disk scans those of the function. A tier that cannot list its keys
    /// (memcached, object storage) invalidates the whole function. Memory above other tiers
    /// invalidates the function, and reads those tiers again. A value that is loaded during the
    /// invalidation is dropped if its load began before.
    ///
    /// # Errors
    /// [`Configuration`](crate::ErrorKind::Configuration) if the pattern is invalid, if no function
    /// has the name, or if a generic function was not called here and a tier cannot list its
    /// instances. Also the error of a tier that is reachable and fails.
    ///
    /// An unreachable tier is not an error. A pattern cannot be queued for it, so the whole
    /// function is queued instead, as [`Receipt::Queued`] says.
    ///
    /// # Cancel safety
    /// If the future is dropped, some of the keys are not invalidated.
    pub async fn invalidate_matching(
        &self,
        function: &str,
        pattern: &str,
    ) -> Result<Matched, Error> {
        let matched = self.drop_matching(function, pattern).await?;
        if matched == Matched::NONE {
            tracing::info!(
                target: "multi_tier_cached::invalidation",
                function,
                "a pattern matches no key of the function, as far as its tiers can count"
            );
        }
        Ok(matched)
    }

    async fn drop_matching(&self, function: &str, pattern: &str) -> Result<Matched, Error> {
        let glob = Glob::new(pattern)?;
        let bound = self.called(function);
        // An instance that is called for the first time during the invalidation may have read a
        // value that was not invalidated yet.
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

    /// Returns the keys in lower tiers of the functions that a name means and that were not called
    /// here. `bound` are those that were called.
    ///
    /// # Errors
    /// No function of that name was called here, and either there is none, or a tier cannot list
    /// its instances.
    async fn keys_of_uncalled(
        &self,
        function: &str,
        bound: &[Arc<CachedFunction>],
    ) -> Result<Vec<FunctionKey>, Error> {
        let generic = registry::annotated()
            .filter(|definition| definition.has_instances && definition.name == function)
            .filter(|definition| definition.has_records());
        let mut versions: Vec<u32> = generic.map(|definition| definition.version).collect();
        versions.dedup();
        let mut keys = Vec::new();
        for version in versions {
            let (found, failed) = self.0.state.instances(function, version).await;
            if let Some(error) = failed {
                if bound.is_empty() {
                    return Err(instances_are_unknown(function, error));
                }
                tracing::debug!(target: "multi_tier_cached::invalidation", function, error = ?error, "a tier cannot list instances");
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

    /// Returns the functions of this name that were called in this runtime. A generic function has
    /// several.
    fn called(&self, function: &str) -> Vec<Arc<CachedFunction>> {
        let all = self.bound();
        let named = all.values().filter(|bound| bound.is_called(function));
        named.cloned().collect()
    }
}

/// Returns the error that a tier cannot list the instances of a generic function.
fn instances_are_unknown(function: &str, error: Error) -> Error {
    let problem =
        format!("`{function}` is generic, and none of its instances was called in this process");
    Error::with_source(error.kind(), problem, error)
        .with_help(format!("name an instance, such as `{function}<app::User>`"))
}

/// Returns the key in lower tiers of a function that was not called in a runtime yet. Returns
/// `None` for a function that uses memory alone, or that has instances.
///
/// # Errors
/// No function has that name.
fn key_of_uncalled(function: &str) -> Result<Option<FunctionKey>, Error> {
    let is_instance_of = |definition: &Definition| {
        let rest = function.strip_prefix(&*definition.name);
        definition.has_instances && rest.is_some_and(|rest| rest.starts_with('<'))
    };
    let annotated = registry::annotated()
        .find(|definition| definition.name == function || is_instance_of(definition));
    let built;
    let definition = match annotated {
        Some(definition) if definition.has_instances && definition.name == function => {
            return Ok(None);
        }
        Some(definition) => definition,
        None => {
            built = registry::built(function)
                .ok_or_else(|| Error::configuration(format!("unknown function `{function}`")))?;
            &*built
        }
    };
    Ok(definition
        .has_records()
        .then(|| FunctionKey::new(function, definition.version)))
}
