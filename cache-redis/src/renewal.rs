//! When the credentials of a link's connections are renewed.

use std::sync::Mutex;
use std::time::Duration;

use cache_core::Error;
use cache_core::tier::kit::lock;
use tokio::time::{Instant, sleep_until};

use crate::credentials::CredentialLife;

/// The time after which a failed renewal is tried again.
const RETRY: Duration = Duration::from_secs(1);

/// When the credentials of the current link are renewed, and why the last attempt failed.
#[derive(Debug, Default)]
pub(crate) struct Renewal(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// `None` if the credentials do not end.
    life: Option<CredentialLife>,
    next: Option<Instant>,
    error: Option<Error>,
}

impl Renewal {
    /// Notes the life of the credentials that the connections were authenticated with.
    pub(crate) fn begin(&self, life: Option<CredentialLife>) {
        *lock(&self.0) = State {
            life,
            next: life.map(|life| life.renewal),
            error: None,
        };
    }

    /// Waits until the credentials are to be renewed.
    pub(crate) async fn is_due(&self) {
        let next = lock(&self.0).next;
        match next {
            Some(next) => sleep_until(next).await,
            None => std::future::pending().await,
        }
    }

    /// Notes that an attempt failed. Returns `true` if there is time for another one, which may
    /// take `limit`.
    pub(crate) fn failed(&self, error: Error, limit: Duration) -> bool {
        let mut state = lock(&self.0);
        state.error = Some(error);
        let next = Instant::now() + RETRY;
        state.next = Some(next);
        state.life.is_some_and(|life| next + limit < life.end)
    }

    /// The reason why the credentials cannot be renewed, although the link still works.
    pub(crate) fn problem(&self) -> Option<String> {
        let state = lock(&self.0);
        let error = state.error.as_ref()?;
        let cause = std::error::Error::source(error);
        let cause = cause.map_or_else(String::new, |cause| format!(": {cause}"));
        let ends = state.life.map_or_else(String::new, |life| {
            let left = life.end.saturating_duration_since(Instant::now());
            format!("; the connections end in {} s", left.as_secs())
        });
        Some(format!(
            "credentials cannot be renewed: {error}{cause}{ends}"
        ))
    }
}
