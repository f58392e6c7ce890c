//! Users and passwords that change while the program runs.

use std::error::Error as StdError;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use cache_core::{Error, ErrorKind};
use redis::{Cmd, ConnectionInfo};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::timeout;

/// A user and a password for the servers, as the function of
/// [`Redis::credentials`](crate::Redis::credentials) returns them.
///
/// `Debug` does not show the password.
#[derive(Clone)]
pub struct Credentials {
    user: Option<String>,
    password: String,
    valid_for: Option<Duration>,
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Credentials")
            .field("user", &self.user)
            .field("valid_for", &self.valid_for)
            .finish_non_exhaustive()
    }
}

impl Credentials {
    /// Creates the credentials of a user. They are valid without limit.
    #[must_use]
    pub fn new(user: impl Into<String>, password: impl Into<String>) -> Self {
        Self {
            user: Some(user.into()),
            ..Self::of_default_user(password)
        }
    }

    /// Creates the credentials of the user `default`, for servers that know a password alone. They
    /// are valid without limit.
    #[must_use]
    pub fn of_default_user(password: impl Into<String>) -> Self {
        Self {
            user: None,
            password: password.into(),
            valid_for: None,
        }
    }

    /// Sets the time for which the server keeps a connection that was authenticated with these
    /// credentials: the life of a token, if the server closes the connection at its end. The
    /// connection is authenticated again, with new credentials, from three quarters of this time
    /// on. Default: without limit.
    #[must_use]
    pub fn valid_for(mut self, valid_for: Duration) -> Self {
        self.valid_for = Some(valid_for);
        self
    }

    pub(crate) fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Returns the address with this user and password.
    pub(crate) fn of(&self, info: &ConnectionInfo) -> ConnectionInfo {
        let mut redis = info.redis_settings().clone();
        if let Some(user) = &self.user {
            redis = redis.set_username(user);
        }
        info.clone()
            .set_redis_settings(redis.set_password(&self.password))
    }

    /// Returns the command that authenticates an open connection again.
    pub(crate) fn command(&self) -> Cmd {
        let mut command = redis::cmd("AUTH");
        if let Some(user) = &self.user {
            command.arg(user);
        }
        command.arg(&self.password);
        command
    }

    /// Returns the life of these credentials if it began at `since`.
    pub(crate) fn life_from(&self, since: Instant) -> Option<CredentialLife> {
        let valid_for = self.valid_for?;
        Some(CredentialLife {
            renewal: since.checked_add(valid_for / 4 * 3)?,
            end: since.checked_add(valid_for)?,
        })
    }
}

/// The moments at which the credentials of a connection are to be renewed, and at which they end.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CredentialLife {
    pub(crate) renewal: Instant,
    pub(crate) end: Instant,
}

type Cause = Box<dyn StdError + Send + Sync>;
type Answer = Pin<Box<dyn Future<Output = Result<Credentials, Cause>> + Send>>;

/// The user's function that returns credentials.
#[derive(Clone)]
pub(crate) struct CredentialsSource(Arc<dyn Fn() -> Answer + Send + Sync>);

impl fmt::Debug for CredentialsSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialsSource")
    }
}

impl CredentialsSource {
    pub(crate) fn new<F, A, E>(function: F) -> Self
    where
        F: Fn() -> A + Send + Sync + 'static,
        A: Future<Output = Result<Credentials, E>> + Send + 'static,
        E: Into<Cause>,
    {
        Self(Arc::new(move || {
            let answer = function();
            Box::pin(async move { answer.await.map_err(Into::into) })
        }))
    }

    /// Asks the function, in a task of its own: a panic in it must not end the task that keeps the
    /// link.
    ///
    /// # Errors
    /// The function fails, panics, or does not return within the time.
    pub(crate) async fn ask(&self, within: Duration) -> Result<Credentials, Error> {
        const WHAT: &str = "the function of `Redis::credentials`";
        let function = Arc::clone(&self.0);
        let mut task = JoinSet::new();
        task.spawn(async move { function().await });
        let failed = |cause: Cause| {
            let problem = format!("{WHAT} failed");
            Error::with_source(ErrorKind::Unavailable, problem, cause)
        };
        let answer = timeout(within, task.join_next()).await.map_err(|_| {
            let millis = within.as_millis();
            let problem =
                format!("{WHAT} did not return within {millis} ms (`Redis::connect_limit`)");
            Error::new(ErrorKind::TimedOut, problem)
        })?;
        match answer {
            Some(Ok(Ok(credentials))) if credentials.valid_for == Some(Duration::ZERO) => {
                let problem = format!("{WHAT} returned credentials that are valid for no time");
                Err(Error::new(ErrorKind::Configuration, problem))
            }
            Some(Ok(Ok(credentials))) => Ok(credentials),
            Some(Ok(Err(cause))) => Err(failed(cause)),
            // The payload of a panic is not shown: it may have a secret in it.
            Some(Err(_)) | None => Err(failed("it panicked".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_secs(5);

    #[test]
    fn password_of_credentials_is_in_no_text() {
        let credentials = Credentials::new("app", "s3cret").valid_for(SOON);
        let text = format!("{credentials:?}");
        assert!(text.contains("app") && !text.contains("s3cret"), "{text}");
        let source = CredentialsSource::new(move || {
            let credentials = credentials.clone();
            async move { Ok::<_, Error>(credentials) }
        });
        assert!(!format!("{source:?}").contains("s3cret"));
    }

    #[tokio::test]
    async fn function_that_fails_panics_or_hangs_is_an_error_that_names_it() {
        let fails = CredentialsSource::new(async || Err("no token today"));
        let panics = CredentialsSource::new(async || -> Result<Credentials, Error> {
            panic!("s3cret");
        });
        let hangs = CredentialsSource::new(std::future::pending::<Result<Credentials, Error>>);
        let no_time = Credentials::new("app", "s3cret").valid_for(Duration::ZERO);
        let ends_at_once = CredentialsSource::new(move || {
            let no_time = no_time.clone();
            async move { Ok::<_, Error>(no_time) }
        });
        for (source, within, expected) in [
            (fails, SOON, "no token today"),
            (panics, SOON, "it panicked"),
            (
                hangs,
                Duration::from_millis(1),
                "did not return within 1 ms",
            ),
            (ends_at_once, SOON, "valid for no time"),
        ] {
            let error = format!("{:?}", source.ask(within).await.unwrap_err());
            assert!(error.contains(expected), "{expected:?} is not in {error}");
            assert!(!error.contains("s3cret"), "{error}");
        }
    }

    #[tokio::test]
    async fn credentials_are_renewed_before_they_end() {
        let now = Instant::now();
        let credentials = Credentials::of_default_user("x").valid_for(Duration::from_secs(40));
        let life = credentials.life_from(now).unwrap();
        assert_eq!(life.renewal - now, Duration::from_secs(30));
        assert_eq!(life.end - now, Duration::from_secs(40));
        assert!(Credentials::new("a", "b").life_from(now).is_none());
    }
}
