//! Options of the builder that depend on the result that a load returns.

use std::time::Duration;

use super::FunctionBuilder;
use crate::call::CacheValue;
use crate::function::tags::TagTemplates;
#[cfg(doc)]
use crate::load_timeout::LoadTimeout;
use crate::outcome::ShareWith;
use crate::outcome::error_rules::{ErrorIf, StaleIf, TimeoutFrom, WithShare};
use crate::tag::Tag;

impl<V: CacheValue, S> FunctionBuilder<V, S> {
    /// Sets how the error of a failed load is rebuilt for each call that waited for the load. Use
    /// it for errors that are not `Clone`; the loads then return `Result<_, E>`. Default: errors
    /// are not shared, and each call that waited runs its own load.
    pub fn share_error<E>(self, rebuild: fn(&E) -> E) -> FunctionBuilder<V, S::Output>
    where
        S: WithShare<ShareWith<E>>,
        E: Send + Sync + 'static,
    {
        self.map_share(|share| share.with_share(ShareWith(rebuild)))
    }

    /// Sets in place of which errors a stale value is returned; it needs `stale_if_error`. The
    /// loads then return `Result<_, E>`. Default: in place of every error.
    pub fn stale_if<E>(self, may_serve_stale: fn(&E) -> bool) -> FunctionBuilder<V, StaleIf<S, E>> {
        let mut builder = self.map_share(|share| StaleIf::new(share, may_serve_stale));
        builder.has_stale_if = true;
        builder
    }

    /// Sets which errors are kept in memory, for the time that `error_ttl` sets; each needs the
    /// other. The loads then return `Result<_, E>`. Default: no error is kept.
    pub fn error_if<E>(self, is_kept: fn(&E) -> bool) -> FunctionBuilder<V, ErrorIf<S, E>>
    where
        E: Clone + Send + Sync + 'static,
    {
        let mut builder = self.map_share(|share| ErrorIf::new(share, is_kept));
        builder.has_error_if = true;
        builder
    }

    /// Sets the longest time that a caller waits for a load, its own or another caller's. The
    /// caller then gets a stale value if `stale_if_error` allows one, and an error that is made
    /// from a [`LoadTimeout`] otherwise. The loads return `Result<_, E>` with
    /// `E: From<LoadTimeout>`. Only calls of
    /// [`get_or_load_late`](crate::Function::get_or_load_late) are limited, because their loads can
    /// continue in the background. Default: callers wait until the load has ended.
    pub fn hard_timeout(mut self, timeout: Duration) -> FunctionBuilder<V, TimeoutFrom<S>> {
        self.definition.times.hard_timeout = Some(timeout);
        self.map_share(TimeoutFrom::new)
    }

    /// Sets the time after which the body of a load is dropped. The callers of that load get an
    /// error that is made from a [`LoadTimeout`]. The loads return `Result<_, E>` with
    /// `E: From<LoadTimeout>`. Default: a load that continues in the background is dropped after
    /// four times the `hard_timeout`, or after 5 minutes; any other load has no limit.
    pub fn load_limit(mut self, limit: Duration) -> FunctionBuilder<V, TimeoutFrom<S>> {
        self.definition.times.load_limit = Some(limit);
        self.map_share(TimeoutFrom::new)
    }

    /// Sets the function that returns the ttl of a value, such as the lifetime of a token. The
    /// value's own ttl takes the place of the function's in every tier, for loads and for
    /// [`put`](crate::Handle::put); at most 365 days, and a value whose ttl is zero is not kept.
    /// Default: every value has the function's ttl.
    pub fn ttl_from(mut self, ttl_from: fn(&V) -> Duration) -> Self {
        self.ttl_from = Some(ttl_from);
        self
    }

    /// Sets the tags of the values that their arguments tell, by which
    /// [`CacheRuntime::invalidate_tags`](crate::CacheRuntime::invalidate_tags) finds them. A
    /// template names the arguments of a key by their places in the tuple: `user:{0}`. Arguments
    /// are escaped as in keys, so that none makes another tag; an integer is written without its
    /// type. `build` refuses a template that cannot be read, and more than 64.
    ///
    /// With `tags([])` the tags come from [`tags_of`](Self::tags_of) and from
    /// [`caching::tag`](crate::caching::tag) alone. Default: values have no tags. A record that an
    /// older build wrote is not used if it lacks a tag of these. Increase
    /// [`version`](Self::version) when values get other tags, which the older records lack.
    pub fn tags(mut self, templates: impl IntoIterator<Item = &'static str>) -> Self {
        self.tags = TagTemplates::parse(templates);
        self
    }

    /// Sets the function that returns the tags of a value, in addition to [`tags`](Self::tags).
    /// A value can have 64 tags; one with more is returned to its callers and kept nowhere.
    /// Default: none.
    pub fn tags_of(mut self, tags_of: fn(&V) -> Vec<Tag>) -> Self {
        self.tags_of = Some(tags_of);
        if let Ok(tags) = &mut self.tags
            && !tags.are_declared()
        {
            *tags = TagTemplates::declared(&[]);
        }
        self
    }

    fn map_share<T>(self, wrap: impl FnOnce(S) -> T) -> FunctionBuilder<V, T> {
        FunctionBuilder {
            definition: self.definition,
            ttl: self.ttl,
            tiers: self.tiers,
            value_type: self.value_type,
            cache_if: self.cache_if,
            ttl_from: self.ttl_from,
            tags: self.tags,
            tags_of: self.tags_of,
            has_stale_if: self.has_stale_if,
            has_error_if: self.has_error_if,
            share: wrap(self.share),
        }
    }
}
