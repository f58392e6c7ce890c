//! What a runtime owns and every function in it shares.

use std::collections::hash_map::RandomState;
use std::future::{Future, poll_fn};
use std::hash::BuildHasher;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use tokio::runtime::Handle;

use crate::background::Background;
use crate::clock::Clock;
use crate::codec::{Encoding, Encodings};
use crate::error::{Error, ErrorKind};
use crate::fence::Fences;
use crate::flight::Flights;
use crate::glob::Glob;
use crate::level::Level;
use crate::overrides::Overrides;
use crate::policy::{Policies, WhenIsolated};
use crate::tier::config::TierConfig;
use crate::tier::memory::MemoryTier;
use crate::tier::watch::Watch;
use crate::tier::{FunctionKey, LocalLeases, Matched, Receipt, Target, Tier};
use crate::tokio_context::TokioContext;

/// The tiers of a runtime, its fences and its flights.
#[derive(Debug)]
pub(crate) struct RuntimeState {
    pub(crate) memory: Option<(TierConfig, MemoryTier)>,
    /// In look-up order.
    pub(crate) lower: Vec<(TierConfig, Arc<dyn Tier>)>,
    /// Of these tiers, in the same order.
    watches: Vec<Arc<Watch>>,
    pub(crate) fences: Arc<Fences>,
    pub(crate) flights: Arc<Flights>,
    pub(crate) clock: Clock,
    pub(crate) encodings: Encodings,
    pub(crate) defaults: Defaults,
    /// Of the key hash: nobody outside the process can choose keys that meet.
    pub(crate) seed: u64,
    /// Of this runtime, random: what a tier of its own has of an earlier one was not told what others invalidated since.
    pub(crate) run: u64,
    pub(crate) background: Background,
    /// The async runtime that the tiers were started in.
    pub(crate) tokio_context: OnceLock<TokioContext>,
    /// Of functions that have memory alone.
    pub(crate) guards: Arc<LocalLeases>,
}

/// What functions get that do not say it themselves.
#[derive(Debug)]
pub(crate) struct Defaults {
    pub(crate) encoding: Encoding,
    pub(crate) when_isolated: WhenIsolated,
    /// Times to live under the names that they say.
    pub(crate) policies: Policies,
    /// What operators say in the functions' place.
    pub(crate) overrides: Overrides,
}

impl Default for Defaults {
    fn default() -> Self {
        Self {
            encoding: Encoding::Postcard,
            when_isolated: WhenIsolated::default(),
            policies: Policies::built_in(),
            overrides: Overrides::default(),
        }
    }
}

fn not_invalidated(what: &str, config: TierConfig, tier: &Arc<dyn Tier>, error: Error) -> Error {
    let (level, kind) = (config.level(), tier.settings().kind);
    Error::with_source(
        error.kind(),
        format!("`{what}` was not invalidated in {level} ({kind})"),
        error,
    )
}

impl RuntimeState {
    pub(crate) fn new(
        memory: Option<(TierConfig, MemoryTier)>,
        lower: Vec<(TierConfig, Arc<dyn Tier>)>,
        fences: Arc<Fences>,
        clock: Clock,
        encodings: Encodings,
        defaults: Defaults,
    ) -> Self {
        Self {
            memory,
            watches: lower.iter().map(|_| Arc::default()).collect(),
            lower,
            fences,
            flights: Flights::new(),
            clock,
            encodings,
            defaults,
            seed: RandomState::new().hash_one(0u8),
            run: RandomState::new().hash_one(1u8),
            background: Background::default(),
            tokio_context: OnceLock::new(),
            guards: Arc::default(),
        }
    }

    /// Drops everything in all lower tiers, from the bottom up; goes on where one fails. A tier that it has not come to when it is
    /// dropped is told all the same.
    pub(crate) async fn invalidate_all(&self) -> Result<Receipt, Error> {
        struct Remaining<'a>(&'a [(TierConfig, Arc<dyn Tier>)]);

        impl Drop for Remaining<'_> {
            fn drop(&mut self) {
                for (_, tier) in self.0.iter().rev() {
                    tier.invalidate_later(Target::All);
                }
            }
        }

        let mut result = Ok(Receipt::Acked);
        let mut rest = Remaining(&self.lower);
        while let Some(((config, tier), above)) = rest.0.split_last() {
            rest.0 = above;
            match invalidated(self.tokio_context_of(&**tier), &**tier, Target::All).await {
                Ok(receipt) => result = result.map(|worst| receipt.max(worst)),
                Err(error) => result = Err(not_invalidated("everything", *config, tier, error)),
            }
        }
        result
    }

    /// Drops the keys that match, of a function that is not bound here, in all lower tiers.
    pub(crate) async fn invalidate_matching(
        &self,
        function: &FunctionKey,
        glob: &Glob,
    ) -> Result<Matched, Error> {
        let mut result = Ok(Matched::NONE);
        for (config, tier) in self.lower.iter().rev() {
            match invalidate_matching_within(
                self.tokio_context_of(&**tier),
                &**tier,
                function,
                glob,
            )
            .await
            {
                Ok(dropped) => result = result.map(|before| before.in_both(dropped)),
                Err(error) => result = Err(not_invalidated(&function.name, *config, tier, error)),
            }
        }
        result
    }

    /// The runtime that operations of a tier need; `None` for one that can do without it once it has ended.
    pub(crate) fn tokio_context_of(&self, tier: &dyn Tier) -> Option<&TokioContext> {
        let tokio_context = self.tokio_context.get()?;
        let can_do_without = tokio_context.has_ended() && tier.settings().works_without_runtime;
        (!can_do_without).then_some(tokio_context)
    }

    /// The tiers below memory, each with the watch over its operations.
    pub(crate) fn watched(
        &self,
    ) -> impl Iterator<Item = (&TierConfig, &Arc<dyn Tier>, &Arc<Watch>)> {
        let lower = self.lower.iter().zip(&self.watches);
        lower.map(|((config, tier), watch)| (config, tier, watch))
    }

    /// The instances of a generic function that the lower tiers know of, and the error of one that could not tell.
    pub(crate) async fn instances(
        &self,
        name: &str,
        version: u32,
    ) -> (Vec<FunctionKey>, Option<Error>) {
        let (mut found, mut failed) = (Vec::new(), None);
        for (_, tier) in &self.lower {
            match unlimited(
                self.tokio_context_of(&**tier),
                tier.instances(name, version),
            )
            .await
            {
                Ok(instances) => found.extend(instances),
                Err(error) => failed = Some(error),
            }
        }
        found.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        found.dedup();
        (found, failed)
    }

    /// All levels there are, in look-up order.
    pub(crate) fn levels(&self) -> Vec<Level> {
        let memory = self.memory.as_ref().map(|_| Level::L1);
        memory
            .into_iter()
            .chain(self.lower.iter().map(|(config, _)| config.level()))
            .collect()
    }

    /// The memory tier, if there is one.
    #[inline]
    pub(crate) fn memory(&self) -> Option<&MemoryTier> {
        self.memory.as_ref().map(|(_, memory)| memory)
    }
}

/// What a tier may take beyond its time before it is given up.
const GRACE: Duration = Duration::from_millis(100);

/// Runs an operation of a tier, which is told to end within that time and is not trusted to: no call hangs for a tier that
/// does not. `tokio_context` is the runtime that the tier was started in.
///
/// The grace begins when the time is seen to be over, not when it was: a process that was stopped for longer than both lets
/// the tier come to its end.
pub(crate) async fn with_time_limit<T>(
    tokio_context: Option<&TokioContext>,
    within: Duration,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    let mut operation = pin!(operation);
    for longest in [within, GRACE] {
        let ended = match tokio_context {
            Some(tokio_context) if !tokio_context.is_here() => {
                tokio_context.check()?;
                tokio_context.run_within(longest, operation.as_mut()).await
            }
            _ => watched(longest, operation.as_mut()).await,
        };
        if let Some(result) = ended {
            return result;
        }
    }
    Err(Error::new(
        ErrorKind::TimedOut,
        format!(
            "no reply from the tier within {} ms, and it does not keep to its time limit",
            within.as_millis()
        ),
    ))
}

/// Runs an operation in the context that the caller is in.
///
/// Nobody may drive the timers while a thread waits for the operation, so it looks at the clock whenever it is polled.
async fn watched<F: Future>(longest: Duration, mut operation: Pin<&mut F>) -> Option<F::Output> {
    let began = Clock::System.now();
    let watched = poll_fn(|cx| match operation.as_mut().poll(cx) {
        Poll::Ready(result) => Poll::Ready(Some(result)),
        Poll::Pending if Clock::System.now().since(began) > longest => Poll::Ready(None),
        Poll::Pending => Poll::Pending,
    });
    match Handle::try_current() {
        Ok(_) => tokio::time::timeout(longest, watched).await.unwrap_or(None),
        Err(_) => watched.await,
    }
}

/// Invalidates. A tier may take its time twice: once to do it and, if it cannot, once to write down that it will.
pub(crate) async fn invalidated(
    tokio_context: Option<&TokioContext>,
    tier: &dyn Tier,
    target: Target<'_>,
) -> Result<Receipt, Error> {
    let within = tier.settings().time_limit;
    let invalidation = tier.invalidate(target, within);
    with_time_limit(tokio_context, within.saturating_mul(2), invalidation).await
}

/// Runs an operation that has no time limit in the context of the tier's runtime.
pub(crate) async fn unlimited<T>(
    tokio_context: Option<&TokioContext>,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match tokio_context {
        Some(tokio_context) if !tokio_context.is_here() => tokio_context.run(operation).await?,
        _ => operation.await,
    }
}

/// Invalidates the keys that match; the whole function if the tier cannot be reached now, which it may queue, where a pattern
/// would be lost.
pub(crate) async fn invalidate_matching_within(
    tokio_context: Option<&TokioContext>,
    tier: &dyn Tier,
    function: &FunctionKey,
    glob: &Glob,
) -> Result<Matched, Error> {
    match unlimited(tokio_context, tier.invalidate_matching(function, glob)).await {
        Ok(keys) => Ok(Matched {
            keys,
            receipt: Receipt::Acked,
        }),
        Err(error) if error.is_transient() => {
            let receipt = invalidated(tokio_context, tier, Target::Function(function)).await?;
            let (kind, function) = (tier.settings().kind, &function.name);
            tracing::info!(
                kind, function, ?receipt, error = ?error,
                "a tier cannot look at its keys now; all of the function is invalidated in it"
            );
            Ok(Matched { keys: 0, receipt })
        }
        Err(error) => Err(error),
    }
}

/// What a call may still spend on a tier. The body's own time does not count.
#[derive(Debug)]
pub(crate) struct Budget<'a> {
    clock: &'a Clock,
    tokio_context: Option<&'a TokioContext>,
    left: Duration,
}

impl<'a> Budget<'a> {
    pub(crate) fn new(state: &'a RuntimeState, tier: &dyn Tier) -> Self {
        Self {
            clock: &state.clock,
            tokio_context: state.tokio_context_of(tier),
            left: tier.settings().time_limit,
        }
    }

    /// Runs an operation with the time that is left.
    pub(crate) async fn spend<T, F>(
        &mut self,
        operation: impl FnOnce(Duration) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        if self.left.is_zero() {
            return Err(Error::new(
                ErrorKind::TimedOut,
                "the call has used up the time limit of the tier",
            ));
        }
        let before = self.clock.now();
        let result = with_time_limit(self.tokio_context, self.left, operation(self.left)).await;
        self.left = self.left.saturating_sub(self.clock.now().since(before));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WITHIN: Duration = Duration::from_millis(5);

    /// One step of an operation in a process that is stopped meanwhile, and what it has to do after that.
    async fn stopped() -> Result<(), Error> {
        std::thread::sleep(2 * (WITHIN + GRACE));
        tokio::task::yield_now().await;
        tokio::task::yield_now().await;
        Ok(())
    }

    #[tokio::test]
    async fn a_process_that_was_stopped_lets_an_operation_come_to_its_end() {
        assert!(with_time_limit(None, WITHIN, stopped()).await.is_ok());
    }

    #[test]
    fn so_does_a_thread_that_waits() {
        assert!(crate::blocking::wait(with_time_limit(None, WITHIN, stopped())).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn an_operation_that_never_ends_is_given_up() {
        let began = tokio::time::Instant::now();
        let ended: Result<(), Error> = with_time_limit(None, WITHIN, std::future::pending()).await;
        assert!(ended.is_err());
        assert!(began.elapsed() >= WITHIN + GRACE);
    }
}
