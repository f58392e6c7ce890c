//! A key of a function that is not bound to a runtime yet, and what a handle does with it.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::cached_function::CachedFunction;
use crate::call::{BoundKey, ResultSpec, drive, run_unkept};
use crate::call_trace::{CallOutcome, UntilDropped};
use crate::clock::Clock;
use crate::codec::ErasedType;
use crate::error::Error;
use crate::explanation::Explanation;
use crate::function::slot::Origin;
use crate::function::ttl::Ttl;
use crate::key::{ArgumentList, Arguments, Key, UnboundArguments};
use crate::load::{self, Mode};
use crate::outcome::{NotShared, Outcome};
use crate::tier::Receipt;
use crate::write_guard::WriteGuard;

/// A key of a function in no runtime yet: each operation binds it where it is first polled.
#[derive(Debug)]
pub(super) struct UnboundKey {
    origin: Origin,
    /// `Err` if the arguments make no key.
    pub(super) arguments: Result<UnboundArguments, Error>,
}

impl UnboundKey {
    pub(super) fn of(origin: Origin, arguments: Result<UnboundArguments, Error>) -> Self {
        Self { origin, arguments }
    }

    pub(super) fn new(origin: Origin, arguments: impl ArgumentList) -> Self {
        Self {
            origin,
            arguments: Arguments::unbound(arguments),
        }
    }

    /// Returns the function in the runtime that a call here would use, and the key there.
    pub(super) fn bind(&self) -> Result<(Arc<CachedFunction>, Key), Error> {
        let arguments = self.arguments.as_ref().map_err(Clone::clone)?;
        let function = self.origin.bind();
        let key = arguments.key(function.id, function.seed);
        Ok((function, key))
    }

    pub(super) async fn invalidate(&self) -> Result<Receipt, Error> {
        let (function, key) = self.bind()?;
        function.invalidate(&key).await
    }

    pub(super) async fn expire(&self) -> Result<Receipt, Error> {
        let (function, key) = self.bind()?;
        function.expire(&key).await
    }

    pub(super) async fn write_guard(&self) -> Result<WriteGuard, Error> {
        let (function, key) = self.bind()?;
        Ok(WriteGuard::take(&function, key).await)
    }

    pub(super) async fn explain(&self, value_type: &dyn ErasedType) -> Explanation {
        match self.bind() {
            Ok((function, key)) => function.explain(&Arc::new(key), value_type).await,
            Err(error) => self.origin.bind().explain_without_key(&error),
        }
    }

    pub(super) async fn peek<V: 'static>(&self, spec: &ResultSpec<V, NotShared>) -> Option<V> {
        let (function, key) = self.bind().ok()?;
        let held = load::peek(function, key, &spec.value_type).await?;
        (spec.value_type.give)(held)
    }

    /// Stores a value. It lives for `ttl` if one is given, else for the time that `ttl_from` takes
    /// from it, else for the function's ttl.
    pub(super) async fn put<V: 'static>(
        &self,
        value: V,
        ttl: Option<Duration>,
        spec: &ResultSpec<V, NotShared>,
    ) -> Result<Receipt, Error> {
        if let Some(ttl) = ttl {
            Ttl::everywhere(ttl).check()?;
        }
        let (function, key) = self.bind()?;
        let ttl = ttl.or_else(|| spec.ttl_of(&value));
        let is_kept = spec.keep_if.is_none_or(|keep_if| keep_if(&value));
        if !is_kept || ttl.is_some_and(|ttl| ttl.is_zero()) {
            return function.invalidate(&key).await;
        }
        let tags = spec.tags_of(&value);
        let held = (spec.value_type.hold)(value);
        let put = load::Put { held, ttl, tags };
        load::put(function, key, put, &spec.value_type).await
    }

    pub(super) async fn strong<R, V, F>(
        &self,
        spec: &ResultSpec<V, NotShared>,
        body: impl FnOnce() -> F,
    ) -> R
    where
        R: Outcome<V>,
        V: Send + Sync + 'static,
        F: Future<Output = R>,
    {
        let Ok((function, key)) = self.bind() else {
            return self.run_without_key(body()).await;
        };
        let mode = if function.has_lower() {
            Mode::Strong
        } else {
            // Without a lower tier, memory is always current.
            let began = Clock::System.fine();
            let held = function.fresh_hit(&key.as_ref());
            if let Some(value) = held.and_then(spec.value_type.give) {
                let traced = function.trace_memory(&key.as_ref(), CallOutcome::Hit, None);
                if let Some(call) = traced {
                    call.took(Clock::System.fine().since(began));
                }
                return R::value(value);
            }
            Mode::JoinFresh
        };
        drive(BoundKey::new(function, key), mode, || *spec, body).await
    }

    async fn run_without_key<F: Future>(&self, body: F) -> F::Output {
        let _traced = UntilDropped::uncached(|| self.origin.bind().name().to_owned());
        run_unkept(body).await
    }

    pub(super) async fn refresh<R, V, F>(
        &self,
        spec: &ResultSpec<V, NotShared>,
        body: impl FnOnce() -> F,
    ) -> R
    where
        R: Outcome<V>,
        V: Send + Sync + 'static,
        F: Future<Output = R>,
    {
        match self.bind() {
            Ok((function, key)) => {
                drive(BoundKey::new(function, key), Mode::Refresh, || *spec, body).await
            }
            Err(_) => self.run_without_key(body()).await,
        }
    }
}
