use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use cache_core::tier::{Tier, TierBuilder, TierContext};
use cache_core::{Error, ErrorKind};
use opendal::Operator;

use crate::tier::ObjectTier;

/// Longest time limit: callers would wait that long.
const LONGEST_LIMIT: Duration = Duration::from_secs(5 * 60);

/// A prefix of an object storage as a tier. One instance uses it at a time.
///
/// ```no_run
/// use cache_core::{CacheRuntime, Memory};
/// use cache_object::Objects;
/// use cache_object::opendal::{Operator, services::Fs};
///
/// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
/// let operator = Operator::new(Fs::default().root("/mnt/bucket"))?;
/// CacheRuntime::builder()
///     .l1(Memory::builder())
///     .l4(Objects::new(operator).prefix("shop/instance-1"))
///     .install()
///     .await?;
/// # Ok(())
/// # }
/// ```
///
/// Files need nothing more. For S3 and the others add [`opendal`] to your dependencies, in the version that is here, with the feature
/// of the service (`services-s3` and an HTTP transport), and give its operator the layers you want.
///
/// **When**: large values that are very costly to load.
///
/// **What it promises**: it is *private*, an object storage tells nobody of invalidations, and fenced: a fill that an invalidation
/// has overtaken is refused. Alone, or under memory, what it has from before a restart counts if the instance ended in order, with
/// [`CacheRuntime::shutdown`](cache_core::CacheRuntime::shutdown); beside a tier that others share it counts only as long as its
/// process lives. After a process that was killed, nothing that it stored counts: nobody knows what it had invalidated, and what it
/// was writing. Its successor waits until it has said nothing for thirty seconds, calls go on without the tier meanwhile, and then it
/// begins with nothing. So does an instance that lost its prefix to another and takes it back.
///
/// **What it costs**: a hit reads one object, a fill writes one, an invalidation of a key deletes one, and that of a function or of
/// everything needs no storage. What is dead or void is [swept](Self::sweep_every), four times a day, where the service can list;
/// elsewhere give it a rule that removes what is older than your longest ttl.
#[derive(Clone)]
pub struct Objects {
    pub(crate) operator: Operator,
    pub(crate) prefix: String,
    pub(crate) time_limit: Duration,
    pub(crate) max_record_bytes: usize,
    pub(crate) sweep_every: Duration,
    pub(crate) required: bool,
}

impl Objects {
    /// What the operator leads to, with the layers that it has (retries, timeouts, logs).
    #[must_use]
    pub fn new(operator: Operator) -> Self {
        Self {
            operator,
            prefix: "mtc".to_owned(),
            // An object store answers within some ten milliseconds to some hundred.
            time_limit: Duration::from_secs(1),
            max_record_bytes: 32 << 20,
            // What is dead costs room alone; to look at each object costs a small read.
            sweep_every: Duration::from_secs(6 * 60 * 60),
            required: false,
        }
    }

    /// Where its objects are: letters, digits and `-_.=/`. Default: `mtc`. Each instance has its own.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// What a call may spend on it beyond its body, in all. Default: 1 s. An invalidation waits for as long, and so does each step of
    /// the [end](cache_core::CacheRuntime::shutdown): for what is owed, for writes under way, for a beat, and for what is left to the
    /// next.
    #[must_use]
    pub fn time_limit(mut self, time_limit: Duration) -> Self {
        self.time_limit = time_limit;
        self
    }

    /// Largest record that is written. Default: 32 MiB. A larger one is not stored
    /// here, and counted ([`TierStats::too_large`](cache_core::TierStats::too_large)).
    #[must_use]
    pub fn max_record_bytes(mut self, max_record_bytes: usize) -> Self {
        self.max_record_bytes = max_record_bytes;
        self
    }

    /// How often objects that nobody will read any more are removed: those that are dead, and those that an invalidation of their
    /// function or of everything, or a new history, has voided. Default: 6 h; the first time 10 minutes after the start.
    ///
    /// A sweep lists the records and reads the first 32 bytes of each, one after the other, with a pause after every 64. Where
    /// such reads cost more than the room, and the service has rules that remove what is older than your longest ttl, make it
    /// [`Duration::MAX`]: never. Nothing is swept by a service that cannot list.
    #[must_use]
    pub fn sweep_every(mut self, sweep_every: Duration) -> Self {
        self.sweep_every = sweep_every;
        self
    }

    /// Lets `install` fail when the storage cannot be used, or another instance has the prefix, with the reason; one that ended
    /// without leaving it has it for thirty seconds more. Default: a warning, and service without it until it can be used.
    #[must_use]
    pub fn required(mut self) -> Self {
        self.required = true;
        self
    }

    fn check(&self) -> Result<(), Error> {
        let wrong = |problem: String| Err(Error::new(ErrorKind::Configuration, problem));
        let prefix = self.prefix.trim_end_matches('/');
        let is_part = |part: &str| {
            !part.is_empty()
                && part != "."
                && part != ".."
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"-_.=".contains(&byte))
        };
        if !prefix.split('/').all(is_part) {
            return wrong(format!(
                "prefix `{}` of object storage is not valid: it has letters, digits and `-_.=`, separated by `/`",
                self.prefix
            ));
        }
        if self.time_limit.is_zero() || self.time_limit > LONGEST_LIMIT {
            return wrong(format!(
                "time limit of object storage is {:?}: it must be more than zero and at most five minutes",
                self.time_limit
            ));
        }
        if self.max_record_bytes == 0 {
            return wrong("maximum record size of object storage is zero".into());
        }
        if self.sweep_every.is_zero() {
            return wrong("time between two sweeps of object storage is zero".into());
        }
        let capability = self.operator.info().capability();
        for (can, what) in [
            (capability.read, "read"),
            (capability.write, "write"),
            (capability.delete, "delete"),
        ] {
            if !can {
                let service = self.operator.info().scheme().to_string();
                return wrong(format!(
                    "`{service}` cannot be used as object storage: it cannot {what}"
                ));
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the operator, which may know a secret.
        f.debug_struct("Objects")
            .field("prefix", &self.prefix)
            .field("time_limit", &self.time_limit)
            .field("max_record_bytes", &self.max_record_bytes)
            .field("sweep_every", &self.sweep_every)
            .field("required", &self.required)
            .finish_non_exhaustive()
    }
}

impl TierBuilder for Objects {
    fn store(&self) -> Option<String> {
        let info = self.operator.info();
        let prefix = self.prefix.trim_end_matches('/');
        Some(format!(
            "the prefix `{prefix}` of {} `{}{}`",
            info.scheme(),
            info.name(),
            info.root()
        ))
    }

    fn build(self: Box<Self>, _: &TierContext) -> Result<Arc<dyn Tier>, Error> {
        self.check()?;
        Ok(Arc::new(ObjectTier::new(*self)))
    }
}
