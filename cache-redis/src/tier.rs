//! The tier's contract, on Redis.

use std::time::Duration;

use cache_core::tier::{
    Breaker, Claim, Fill, Found, FunctionKey, Lease, RecordKey, Target, Tier, TierFuture,
};
use cache_core::{Error, ErrorKind};
use redis::{Client, Cmd};

use crate::config::Settings;
use crate::keys::Keys;
use crate::link::Link;
use crate::script::Scripts;

/// How long a load may take and still fill. A lease blocks nobody, so a long one costs a small key per crashed load.
const LEASE_LIFE: Duration = Duration::from_secs(5 * 60);

/// An epoch must outlive every record that names it; each lease renews it, and no record lives longer than a year.
const EPOCH_LIFE: Duration = Duration::from_secs(366 * 24 * 60 * 60);

#[derive(Debug)]
pub(crate) struct RedisTier {
    link: Link,
    keys: Keys,
    scripts: Scripts,
    settings: Settings,
}

impl RedisTier {
    pub(crate) fn new(client: Client, settings: Settings) -> Self {
        Self {
            link: Link::new(client, settings.connect_limit, settings.breaker_threshold),
            keys: Keys::new(&settings.namespace),
            scripts: Scripts::new(),
            settings,
        }
    }

    async fn command<T: redis::FromRedisValue>(
        &self,
        what: &'static str,
        within: Duration,
        command: Cmd,
    ) -> Result<T, Error> {
        self.link
            .run(what, within, |mut connection| async move {
                command.query_async(&mut connection).await
            })
            .await
    }

    async fn take_lease(
        &self,
        key: &RecordKey,
        claim: Claim,
        within: Duration,
    ) -> Result<Lease, Error> {
        let mut invocation = self.scripts.lease.prepare_invoke();
        invocation
            .key(self.keys.lease(key))
            .key(self.keys.epoch(&key.function))
            .arg(fresh_number())
            .arg(millis(LEASE_LIFE))
            .arg(fresh_number())
            .arg(millis(EPOCH_LIFE))
            .arg(u8::from(claim == Claim::TakeOver));
        let (token, epoch): (String, String) = self
            .link
            .run("lease", within, |mut connection| async move {
                invocation.invoke_async(&mut connection).await
            })
            .await?;
        Ok(Lease::new(number(&token)?, number(&epoch)?))
    }

    async fn store(
        &self,
        key: &RecordKey,
        lease: &Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> Result<Fill, Error> {
        let mut invocation = self.scripts.fill.prepare_invoke();
        invocation
            .key(self.keys.record(key))
            .key(self.keys.lease(key))
            .key(self.keys.epoch(&key.function))
            .arg(lease.token)
            .arg(lease.epoch)
            .arg(record)
            .arg(millis(life));
        let stored: bool = self
            .link
            .run("fill", within, |mut connection| async move {
                invocation.invoke_async(&mut connection).await
            })
            .await?;
        Ok(if stored { Fill::Stored } else { Fill::Refused })
    }

    async fn void(&self, target: Target<'_>, within: Duration) -> Result<(), Error> {
        match target {
            // One command: nobody can fill between the record's end and the lease's.
            Target::Key(key) => {
                let mut command = redis::cmd("DEL");
                command.arg(self.keys.record(key)).arg(self.keys.lease(key));
                self.command("invalidate", within, command).await
            }
            Target::Function(function) => self.new_epoch(function, within).await,
            _ => Err(Error::new(
                ErrorKind::Protocol,
                "invalidate: this tier does not know the target",
            )),
        }
    }

    /// Voids all records of a function, and all leases: both name the old epoch.
    async fn new_epoch(&self, function: &FunctionKey, within: Duration) -> Result<(), Error> {
        let mut command = redis::cmd("SET");
        command
            .arg(self.keys.epoch(function))
            .arg(fresh_number())
            .arg("PX")
            .arg(millis(EPOCH_LIFE));
        self.command("invalidate", within, command).await
    }
}

impl Tier for RedisTier {
    fn kind(&self) -> &'static str {
        "redis"
    }

    fn time_limit(&self) -> Duration {
        self.settings.time_limit
    }

    fn max_record_bytes(&self) -> usize {
        self.settings.max_record_bytes
    }

    fn now(&self) -> u64 {
        self.link.now()
    }

    fn breaker(&self) -> Breaker {
        self.link.breaker().state()
    }

    fn start(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            match self.link.start().await {
                Err(error) if self.settings.required => {
                    self.link.shutdown();
                    Err(Error::with_source(
                        error.kind(),
                        "reach the Redis that is required",
                        error,
                    ))
                }
                _ => Ok(()),
            }
        })
    }

    fn read<'a>(&'a self, key: &'a RecordKey, within: Duration) -> TierFuture<'a, Found> {
        Box::pin(async move {
            let mut command = redis::cmd("MGET");
            command
                .arg(self.keys.record(key))
                .arg(self.keys.epoch(&key.function));
            let (record, epoch): (Option<Vec<u8>>, Option<String>) =
                self.command("read", within, command).await?;
            // An epoch that is no number is not ours, and no record is valid under it.
            Ok(Found::new(
                record,
                epoch.and_then(|epoch| epoch.parse().ok()),
            ))
        })
    }

    fn lease<'a>(
        &'a self,
        key: &'a RecordKey,
        claim: Claim,
        within: Duration,
    ) -> TierFuture<'a, Lease> {
        Box::pin(self.take_lease(key, claim, within))
    }

    fn fill<'a>(
        &'a self,
        key: &'a RecordKey,
        lease: &'a Lease,
        record: Vec<u8>,
        life: Duration,
        within: Duration,
    ) -> TierFuture<'a, Fill> {
        Box::pin(self.store(key, lease, record, life, within))
    }

    fn invalidate<'a>(&'a self, target: Target<'a>, within: Duration) -> TierFuture<'a, ()> {
        Box::pin(self.void(target, within))
    }

    fn shutdown(&self) -> TierFuture<'_, ()> {
        Box::pin(async move {
            self.link.shutdown();
            Ok(())
        })
    }
}

/// Never zero: Redis refuses that, and a record without a life would stay for ever.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis())
        .unwrap_or(u64::MAX)
        .max(1)
}

/// A token or an epoch, never zero: 63 bits, so that it has at most 19 digits. Random, never counted: one that was evicted must not come
/// back.
fn fresh_number() -> u64 {
    (fastrand::u64(..) >> 1) | 1
}

/// A token or an epoch as it is kept. Anything else under our keys is not ours.
fn number(text: &str) -> Result<u64, Error> {
    text.parse().map_err(|error| {
        Error::with_source(
            ErrorKind::Protocol,
            "read a number under a key of this cache",
            error,
        )
    })
}
